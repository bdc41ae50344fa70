"""Floats as Go writes them."""

from __future__ import annotations

import math
from decimal import Decimal


def float_text(value: float) -> str:
    """A float as %v writes it: the shortest digits that read back, with an exponent from 1e+06."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return _text(value, range(-4, 6), "e{sign}{exponent:02}")


def float_json(value: float) -> str:
    """A finite float as encoding/json writes it."""
    return _text(value, range(-6, 21), "e{sign}{exponent}")


def _text(value: float, plain_exponents: range, pattern: str) -> str:
    number = Decimal(repr(value)).normalize()
    sign, digits, _ = number.as_tuple()
    exponent = number.adjusted()
    minus = "-" if sign else ""
    if value == 0 or exponent in plain_exponents:
        return minus + (f"{abs(number):f}" if value else "0")
    mantissa = str(digits[0]) + ("." + "".join(map(str, digits[1:])) if len(digits) > 1 else "")
    power = pattern.format(sign="-" if exponent < 0 else "+", exponent=abs(exponent))
    return f"{minus}{mantissa}{power}"
