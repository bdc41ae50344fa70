"""`keep_alive` as clients send it (ollama-api.md section 2.4)."""

from __future__ import annotations

import re

from drover.errors import InvalidRequest
from frontend.dialects.ollama.go_json import Json

FOREVER_NS = 2**63 - 1
_NS_PER_SECOND = 1_000_000_000
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": _NS_PER_SECOND,
    "m": 60 * _NS_PER_SECOND,
    "h": 3600 * _NS_PER_SECOND,
}
_TERM = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_GO_TYPES: list[tuple[type, str]] = [
    (bool, "bool"),
    (list, "[]interface {}"),
    (dict, "map[string]interface {}"),
]


def keep_alive_ns(value: Json) -> int:
    """Nanoseconds; every negative duration means for ever. Raises InvalidRequest in Go's words."""
    for python_type, go_type in _GO_TYPES:
        if isinstance(value, python_type):
            raise InvalidRequest(f"Unsupported type: '{go_type}'")
    if isinstance(value, str):
        nanoseconds = parse_go_duration(value)
    else:
        assert isinstance(value, int | float)
        nanoseconds = _clamped(value * _NS_PER_SECOND)
    return FOREVER_NS if nanoseconds < 0 else nanoseconds


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


def _clamped(nanoseconds: float) -> int:
    if nanoseconds != nanoseconds:
        return 0
    return int(max(-FOREVER_NS, min(FOREVER_NS, nanoseconds)))
