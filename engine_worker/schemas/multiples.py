"""Multiples of a number (`multipleOf`): listed if they are few, or recognised by their last digits.

Last digits decide for example about multiples of 5, 0.25 or 100. Other steps cannot be kept.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import count as count_up

from engine_worker.schemas import schema_reader
from engine_worker.schemas.numbers import Bounds, naturals
from engine_worker.schemas.terms import NOTHING, Chars, Term, Terminal, choice, optional, sequence, text

# Values that a grammar lists one by one.
MAX_LISTED = 200
_MAX_LAST_DIGITS_VALUES = 100
_MAX_LAST_DIGITS = 4
# No number that is written is a multiple of a larger step, other than 0.
_LARGEST_STEP = 10**40

# A value, and whether it is exclusive.
Bound = tuple[Decimal, bool]


def step_of(factors: Sequence[object], is_integer: bool) -> Fraction | None:
    """The least common multiple of all factors, and of 1 for integers. None if a factor is not a positive
    number, or if the result is too large or too fine.
    """
    step = Fraction(1) if is_integer else None
    for factor in factors:
        number = schema_reader.number(factor)
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
    """The multiples between two bounds; None if there are more than MAX_LISTED."""
    least, most = Fraction(low[0]) / step, Fraction(high[0]) / step
    first = math.ceil(least) + (low[1] and least.denominator == 1)
    last = math.floor(most) - (high[1] and most.denominator == 1)
    if last - first + 1 > MAX_LISTED:
        return None
    return [decimal_of(step * number) for number in range(first, last + 1)]


def decimal_of(value: Fraction) -> int | Decimal:
    """The exact decimal of a fraction whose denominator divides a power of ten."""
    if value.denominator == 1:
        return value.numerator
    decimals = next(count for count in count_up(1) if (value * 10**count).denominator == 1)
    digits = map(int, str(abs(value * 10**decimals).numerator))
    return Decimal((value < 0, tuple(digits), -decimals))


@dataclass(frozen=True, slots=True)
class LastDigits:
    """A number, in units of its last of `decimals` decimals, is a multiple of `step` exactly if the number
    that its last `length` digits make is.
    """

    decimals: int
    length: int
    step: int

    @classmethod
    def of(cls, step: Fraction) -> LastDigits | None:
        """None if the last digits do not decide, or too many of them would be needed."""
        decimals = next(
            (count for count in range(_MAX_LAST_DIGITS + 1) if (step * 10**count).denominator == 1), None
        )
        if decimals is None:
            return None
        units = (step * 10**decimals).numerator
        for length in range(decimals, _MAX_LAST_DIGITS + 1):
            if 10**length % units == 0 and 10**length // units <= _MAX_LAST_DIGITS_VALUES:
                return cls(decimals, length, units)
        return None


def multiples(last_digits: LastDigits, bounds: Bounds) -> Term:
    low, high = _least(last_digits, bounds), _most(last_digits, bounds)
    options: list[Term] = []
    if high is None or high >= 0:
        options.append(_from_zero_up(last_digits, max(0, low) if low is not None else 0, high))
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        options.append(sequence(text("-"), _from_zero_up(last_digits, least, None if low is None else -low)))
    term = choice(*options)
    return NOTHING if term == NOTHING else Terminal(term)


def _least(last_digits: LastDigits, bounds: Bounds) -> int | None:
    """The lower bound in units of the last digit."""
    if bounds.low is None:
        return None
    units = Fraction(bounds.low) * Fraction(10) ** last_digits.decimals
    return math.ceil(units) + int(bounds.low_open and units.denominator == 1)


def _most(last_digits: LastDigits, bounds: Bounds) -> int | None:
    if bounds.high is None:
        return None
    units = Fraction(bounds.high) * Fraction(10) ** last_digits.decimals
    return math.floor(units) - int(bounds.high_open and units.denominator == 1)


def _from_zero_up(last_digits: LastDigits, low: int, high: int | None) -> Term:
    """Group last digits by the bounds of the digits before them, which most of them share."""
    whole: set[str] = set()
    after: dict[tuple[int, int | None], set[str]] = {}
    for last in range(0, 10**last_digits.length, last_digits.step):
        first = max(0, -((last - low) // 10**last_digits.length))
        most = None if high is None else (high - last) // 10**last_digits.length
        if first == 0 and (most is None or most >= 0):
            whole |= _written(last_digits, last, is_whole=True)
        first = max(1, first)
        if most is None or most >= first:
            after.setdefault((first, most), set()).update(_written(last_digits, last, is_whole=False))
    larger = (sequence(naturals(first, most), one_of(ends)) for (first, most), ends in after.items())
    return choice(*([one_of(whole)] if whole else []), *larger)


def _written(last_digits: LastDigits, last: int, is_whole: bool) -> set[str]:
    """`is_whole`: nothing stands before them. Zeros at the end of a fraction may be left out."""
    written = str(last).zfill(last_digits.length) if last_digits.length else ""
    before = written[: last_digits.length - last_digits.decimals]
    fraction = written[last_digits.length - last_digits.decimals :]
    whole = str(int(before or "0")) if is_whole else before
    least = len(fraction.rstrip("0"))
    fractions = (fraction[:length] for length in range(least, len(fraction) + 1))
    return {f"{whole}.{each}" if each else whole for each in fractions}


def one_of(texts: Collection[str]) -> Term:
    """Merge first characters that have the same continuations: 00 to 99 becomes two digits."""
    tails: dict[str, set[str]] = {}
    for each in texts:
        if each:
            tails.setdefault(each[0], set()).add(each[1:])
    same: dict[frozenset[str], str] = {}
    for character, following in tails.items():
        key = frozenset(following)
        same[key] = same.get(key, "") + character
    term = choice(*(sequence(Chars.text(first), one_of(following)) for following, first in same.items()))
    return optional(term) if "" in texts else term
