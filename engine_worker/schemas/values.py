"""The values of `enum` and `const` that the keywords next to them leave."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from engine_worker.schemas import keywords, malformed
from engine_worker.schemas.merged import Merged

Drop = Callable[[str], None]

_BOUNDS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}
_LENGTHS: dict[str, Callable[[int, int], bool]] = {
    "minLength": lambda length, bound: length >= bound,
    "maxLength": lambda length, bound: length <= bound,
}
_OF_TYPES: tuple[tuple[type | tuple[type, ...], set[str]], ...] = (
    (str, keywords.OF_STRINGS),
    ((int, Decimal), keywords.OF_NUMBERS),
    (list, keywords.OF_ARRAYS),
    (dict, keywords.OF_OBJECTS),
)


def obeying_values(merged: Merged, values: list[object], drop: Drop) -> list[object]:
    """Bounds, lengths and multiples are compared. Other keywords that speak of a value's type are named as
    dropped.
    """
    for kind, words in _OF_TYPES:
        of_kind = [value for value in values if isinstance(value, kind) and not isinstance(value, bool)]
        for keyword in sorted(words) if of_kind else ():
            for limit in merged.all(keyword):
                refused = [value for value in of_kind if not _obeys(value, keyword, limit, drop)]
                values = [value for value in values if not any(value is each for each in refused)]
    return values


def _obeys(value: object, keyword: str, limit: object, drop: Drop) -> bool:
    if keyword in _BOUNDS and (bound := malformed.number(limit)) is not None:
        assert isinstance(value, int | Decimal)
        return _BOUNDS[keyword](Decimal(value), bound)
    if keyword in _LENGTHS and (count := malformed.count(limit)) is not None:
        assert isinstance(value, str)
        return _LENGTHS[keyword](len(value), count)
    if keyword == "multipleOf" and (factor := malformed.number(limit)) is not None and factor > 0:
        assert isinstance(value, int | Decimal)
        return Fraction(value) % Fraction(factor) == 0
    drop(keyword)
    return True
