"""Numbers whose last digits are some of few: multiples, for example, of 5, 0.25 or 100."""

from __future__ import annotations

import math
from collections.abc import Collection
from fractions import Fraction

from engine_worker.schemas.multiples import Endings
from engine_worker.schemas.numbers import Bounds, naturals
from engine_worker.schemas.terms import NOTHING, Chars, Leaf, Term, choice, optional, sequence, text


def multiples(endings: Endings, bounds: Bounds) -> Term:
    low, high = _least(endings, bounds), _most(endings, bounds)
    options: list[Term] = []
    if high is None or high >= 0:
        options.append(_from_zero_up(endings, max(0, low) if low is not None else 0, high))
    if low is None or low < 0:
        least = 1 if high is None or high >= 0 else -high
        options.append(sequence(text("-"), _from_zero_up(endings, least, None if low is None else -low)))
    term = choice(*options)
    return NOTHING if term == NOTHING else Leaf(term)


def _least(endings: Endings, bounds: Bounds) -> int | None:
    """In units of the last digit."""
    if bounds.low is None:
        return None
    units = Fraction(bounds.low) * Fraction(10) ** endings.decimals
    return math.ceil(units) + int(bounds.low_open and units.denominator == 1)


def _most(endings: Endings, bounds: Bounds) -> int | None:
    if bounds.high is None:
        return None
    units = Fraction(bounds.high) * Fraction(10) ** endings.decimals
    return math.floor(units) - int(bounds.high_open and units.denominator == 1)


def _from_zero_up(endings: Endings, low: int, high: int | None) -> Term:
    """What stands before the last digits has the same bounds for most of them."""
    whole: set[str] = set()
    after: dict[tuple[int, int | None], set[str]] = {}
    for last in range(0, 10**endings.length, endings.step):
        first = max(0, -((last - low) // 10**endings.length))
        most = None if high is None else (high - last) // 10**endings.length
        if first == 0 and (most is None or most >= 0):
            whole |= _written(endings, last, is_whole=True)
        first = max(1, first)
        if most is None or most >= first:
            after.setdefault((first, most), set()).update(_written(endings, last, is_whole=False))
    larger = (sequence(naturals(first, most), one_of(ends)) for (first, most), ends in after.items())
    return choice(*([one_of(whole)] if whole else []), *larger)


def _written(endings: Endings, last: int, is_whole: bool) -> set[str]:
    """`is_whole`: nothing stands before them. Zeros at the end of a fraction may be left out."""
    written = str(last).zfill(endings.length) if endings.length else ""
    before = written[: endings.length - endings.decimals]
    fraction = written[endings.length - endings.decimals :]
    whole = str(int(before or "0")) if is_whole else before
    least = len(fraction.rstrip("0"))
    fractions = (fraction[:length] for length in range(least, len(fraction) + 1))
    return {f"{whole}.{each}" if each else whole for each in fractions}


def one_of(texts: Collection[str]) -> Term:
    """With a common term for what may follow several characters: 00 to 99 are two digits."""
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
