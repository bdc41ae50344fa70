"""Multiples of a number, where they are few enough to be listed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

from engine_worker.schemas import malformed

# Values that a grammar has one by one.
MOST_LISTED = 200

# A value, and whether it is left out itself.
Bound = tuple[Decimal, bool]


def listed_multiples(factors: Sequence[object], low: Bound, high: Bound) -> list[int] | None:
    """The integers between the bounds that are multiples of all factors. None where a factor is no positive
    integer, and where they are too many.
    """
    counts = [malformed.count(factor) for factor in factors]
    known = [count for count in counts if count]
    if len(known) < len(counts):
        return None
    step = math.lcm(*known)
    first = math.ceil(low[0]) + (low[1] and low[0] == math.ceil(low[0]))
    last = math.floor(high[0]) - (high[1] and high[0] == math.floor(high[0]))
    first += -first % step
    number = (last - first) // step + 1
    return [first + step * index for index in range(number)] if number <= MOST_LISTED else None


def are_all(factors: Sequence[object]) -> bool:
    """Whether each integer is a multiple of them."""
    return all(malformed.number(factor) == 1 for factor in factors)
