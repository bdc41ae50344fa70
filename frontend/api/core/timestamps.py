"""Durations as clients send them, and times as Go prints them."""

from __future__ import annotations

import time

from drover.durations import FOREVER_NS, NS_PER_SECOND, clamped_ns, parse_go_duration
from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json

_NS_PER_SECOND = 1_000_000_000
_SHARED_NS = 200_000
# A pinned model never expires; Ollama shows that as the end of Go's durations, some 292 years ahead.
_GO_FOREVER_NS = 2**63 - 1


def rfc3339(unix_ns: int) -> str:
    seconds, fraction = divmod(unix_ns, _NS_PER_SECOND)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def never() -> str:
    return rfc3339(time.time_ns() + _GO_FOREVER_NS)


class Clock:
    """`now` for all streams: lines of one engine step share a time, and the date is printed once a second."""

    __slots__ = ("_at_ns", "_second", "_text", "_whole")

    def __init__(self) -> None:
        self._at_ns = -_SHARED_NS
        self._text = b""
        self._second = -1
        self._whole = b""

    def now(self) -> bytes:
        """To within a fifth of a millisecond."""
        now_ns = time.time_ns()
        if not 0 <= now_ns - self._at_ns < _SHARED_NS:
            self._at_ns, self._text = now_ns, self._printed(now_ns)
        return self._text

    def _printed(self, unix_ns: int) -> bytes:
        second, fraction = divmod(unix_ns, _NS_PER_SECOND)
        if second != self._second:
            self._second = second
            self._whole = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()
        return self._whole + (b"%09d" % fraction).rstrip(b"0") + b"Z" if fraction else self._whole[:-1] + b"Z"


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
        nanoseconds = clamped_ns(value * NS_PER_SECOND)
    return FOREVER_NS if nanoseconds < 0 else nanoseconds
