"""Multiples of a number, as far as a grammar can tell them: those that are few between two bounds, and those
that are known by their last digits, as of 5, 0.25 or 100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import count as count_up

from engine_worker.schemas import malformed

# Values that a grammar has one by one.
MOST_LISTED = 200
_MOST_ENDINGS = 100
_MOST_LAST_DIGITS = 4
# Digits of a step: more say nothing of any number that is written.
_LARGEST_STEP = 10**40

# A value, and whether it is left out itself.
Bound = tuple[Decimal, bool]


def step_of(factors: Sequence[object], is_integer: bool) -> Fraction | None:
    """What is a multiple of it is one of all factors, and an integer where it has to be. None where a factor
    is no positive number, and for what is too large or too fine.
    """
    step = Fraction(1) if is_integer else None
    for factor in factors:
        number = malformed.number(factor)
        if number is None or number <= 0:
            return None
        other = Fraction(number)
        step = other if step is None else _common(step, other)
        if max(step.numerator, step.denominator) > _LARGEST_STEP:
            return None
    return step


def _common(one: Fraction, other: Fraction) -> Fraction:
    numerator = math.lcm(one.numerator, other.numerator)
    return Fraction(numerator, math.gcd(one.denominator, other.denominator))


def listed_multiples(step: Fraction, low: Bound, high: Bound) -> list[object] | None:
    """Those between the bounds. None where they are too many."""
    least, most = Fraction(low[0]) / step, Fraction(high[0]) / step
    first = math.ceil(least) + (low[1] and least.denominator == 1)
    last = math.floor(most) - (high[1] and most.denominator == 1)
    if last - first + 1 > MOST_LISTED:
        return None
    return [decimal_of(step * number) for number in range(first, last + 1)]


def decimal_of(value: Fraction) -> int | Decimal:
    """Of a fraction that was made of decimals, exactly."""
    if value.denominator == 1:
        return value.numerator
    decimals = next(count for count in count_up(1) if (value * 10**count).denominator == 1)
    digits = map(int, str(abs(value * 10**decimals).numerator))
    return Decimal((value < 0, tuple(digits), -decimals))


@dataclass(frozen=True, slots=True)
class Endings:
    """In units of the last of `decimals`: a number is a multiple of `step` where its last `length` digits
    are.
    """

    decimals: int
    length: int
    step: int

    @classmethod
    def of(cls, step: Fraction) -> Endings | None:
        """None where the last digits do not tell, or only very many of them."""
        decimals = next(
            (count for count in range(_MOST_LAST_DIGITS + 1) if (step * 10**count).denominator == 1), None
        )
        if decimals is None:
            return None
        units = (step * 10**decimals).numerator
        for length in range(decimals, _MOST_LAST_DIGITS + 1):
            if 10**length % units == 0 and 10**length // units <= _MOST_ENDINGS:
                return cls(decimals, length, units)
        return None
