"""Floats as Go's encoding/json writes them: the fewest digits that read back as the same float."""

from __future__ import annotations

from collections.abc import Iterable
from ctypes import c_float
from decimal import Decimal

# Nine digits do for every 32-bit float; most components of a vector need eight or seven.
_ALL_DIGITS = "%.9g"
_FEWER_DIGITS = [f"%.{digits}g" for digits in range(8, 0, -1)]
_LEAST_PLAIN_EXPONENT = -6
_LEAST_LARGE_EXPONENT = 21


def float32_array(values: Iterable[float]) -> bytes:
    """`[0.5,-1,1e-7]`. The values are finite, and each is one that 32 bits can hold."""
    return b"[%b]" % ",".join(map(float32_text, values)).encode()


def float64_array(values: Iterable[float]) -> bytes:
    """The same of 64-bit floats: more digits, where the values were made with 32 bits."""
    return b"[%b]" % ",".join(map(float64_text, values)).encode()


def float64_text(value: float) -> str:
    text = repr(value).removesuffix(".0")
    return _with_go_exponent(text) if "e" in text else text


def float32_text(value: float) -> str:
    """One of them. 2**-96, 2**87 and 2**90 get a digit more than they need."""
    text = ""
    for digits in _FEWER_DIGITS:
        shorter = digits % value
        if c_float(float(shorter)).value != value:
            break
        text = shorter
    text = text or _ALL_DIGITS % value
    return _with_go_exponent(text) if "e" in text else text


def _with_go_exponent(text: str) -> str:
    """Go writes an exponent for very small and very large numbers only, without a leading zero."""
    exponent = int(text.partition("e")[2])
    if _LEAST_PLAIN_EXPONENT <= exponent < _LEAST_LARGE_EXPONENT:
        return f"{Decimal(text):f}"
    return text.replace("e-0", "e-")
