"""Floats, times and durations as Go's encoding/json and `time` write and read them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from ctypes import c_float
from decimal import Decimal

from drover.durations import FOREVER_NS, NS_PER_SECOND, clamped_ns, parse_go_duration
from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json

# Nine digits suffice for every 32-bit float; most components of a vector need eight or seven.
_ALL_DIGITS = "%.9g"
_FEWER_DIGITS = [f"%.{digits}g" for digits in range(8, 0, -1)]
_LEAST_PLAIN_EXPONENT = -6
_LEAST_LARGE_EXPONENT = 21


def float32_array(values: Iterable[float]) -> bytes:
    """`[0.5,-1,1e-7]`. The values are finite 32-bit floats."""
    return b"[%b]" % ",".join(map(float32_text, values)).encode()


def float64_array(values: Iterable[float]) -> bytes:
    """The same for 64-bit floats, which need more digits for values of 32 bits."""
    return b"[%b]" % ",".join(map(float64_text, values)).encode()


def float64_text(value: float) -> str:
    text = repr(value).removesuffix(".0")
    return _with_go_exponent(text) if "e" in text else text


def float32_text(value: float) -> str:
    """A finite 32-bit float. 2**-96, 2**87 and 2**90 get a digit more than they need."""
    text = ""
    for digits in _FEWER_DIGITS:
        shorter = digits % value
        if c_float(float(shorter)).value != value:
            break
        text = shorter
    text = text or _ALL_DIGITS % value
    return _with_go_exponent(text) if "e" in text else text


def _with_go_exponent(text: str) -> str:
    """Write an exponent as Go does: for very small and very large numbers only, without a leading zero."""
    exponent = int(text.partition("e")[2])
    if _LEAST_PLAIN_EXPONENT <= exponent < _LEAST_LARGE_EXPONENT:
        return f"{Decimal(text):f}"
    return text.replace("e-0", "e-")


_NS_PER_SECOND = 1_000_000_000
_SHARED_NS = 200_000
# A pinned model never expires; Ollama shows that as Go's longest duration, some 292 years ahead.
_GO_FOREVER_NS = 2**63 - 1


def rfc3339(unix_ns: int) -> str:
    seconds, fraction = divmod(unix_ns, _NS_PER_SECOND)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


def never() -> str:
    return rfc3339(time.time_ns() + _GO_FOREVER_NS)


class Clock:
    """The current time for all streams: lines of one engine step share it, and the date is formatted once a
    second.
    """

    __slots__ = ("_at_ns", "_second", "_text", "_whole")

    def __init__(self) -> None:
        self._at_ns = -_SHARED_NS
        self._text = b""
        self._second = -1
        self._whole = b""

    def now(self) -> bytes:
        """The time in RFC 3339, at most a fifth of a millisecond old."""
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
    """`keep_alive` in nanoseconds; negative ones mean for ever. Raises InvalidRequest in Go's words."""
    for python_type, go_type in _GO_TYPES:
        if isinstance(value, python_type):
            raise InvalidRequest(f"Unsupported type: '{go_type}'")
    if isinstance(value, str):
        nanoseconds = parse_go_duration(value)
    else:
        assert isinstance(value, int | float)
        nanoseconds = clamped_ns(value * NS_PER_SECOND)
    return FOREVER_NS if nanoseconds < 0 else nanoseconds
