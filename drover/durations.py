"""Durations as Go's tools write them (`1h30m`, `500ms`), in nanoseconds."""

from __future__ import annotations

import re

from drover.errors import InvalidRequest

NS_PER_SECOND = 1_000_000_000
_NS_PER_MS = 1_000_000
# The longest that an int64 holds: 292 years.
FOREVER_NS = 2**63 - 1
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_SECOND,
    "m": 60 * NS_PER_SECOND,
    "h": 3600 * NS_PER_SECOND,
}
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_WHOLE_SECONDS = re.compile(r"[+-]?[0-9]+")


def parse_go_duration(text: str) -> int:
    """Nanoseconds of `1h30m`, `-1.5s` and the like. Raises InvalidRequest in Go's words."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total = 0.0
    if not rest:
        raise InvalidRequest(f"time: invalid duration {quoted}")
    while rest:
        match = _TERM.match(rest)
        assert match is not None, "every part of the pattern may be empty"
        whole, fraction, unit = match[1], match[2] or "", match[3]
        if not whole and not fraction:
            raise InvalidRequest(f"time: invalid duration {quoted}")
        if not unit:
            raise InvalidRequest(f"time: missing unit in duration {quoted}")
        if unit not in _UNIT_NS:
            raise InvalidRequest(f'time: unknown unit "{unit}" in duration {quoted}')
        total += float(f"{whole or 0}.{fraction or 0}") * _UNIT_NS[unit]
        rest = rest[match.end() :]
    if total > FOREVER_NS:
        raise InvalidRequest(f"time: invalid duration {quoted}")
    return sign * round(total)


def parse_duration_or_seconds(text: str) -> int:
    """Nanoseconds of a Go duration or of a whole number of seconds, as OLLAMA_KEEP_ALIVE takes them; what no
    int64 holds becomes its longest. Raises InvalidRequest in Go's words.
    """
    if _WHOLE_SECONDS.fullmatch(text):
        return clamped_ns(float(text) * NS_PER_SECOND)
    return parse_go_duration(text)


def clamped_ns(nanoseconds: float) -> int:
    """Within what an int64 holds; not a number: 0."""
    if nanoseconds != nanoseconds:
        return 0
    return int(max(-FOREVER_NS, min(FOREVER_NS, nanoseconds)))


def milliseconds(nanoseconds: int) -> float:
    """With two decimals, as logs show them."""
    return round(nanoseconds / _NS_PER_MS, 2)
