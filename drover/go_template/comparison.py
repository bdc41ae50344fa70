"""Go's eq, ne, lt, le, gt, ge, which compare values of one basic kind only."""

from __future__ import annotations

from drover.go_template.errors import Budget, FunctionFailed
from drover.go_template.values import Record, Value, type_name

_UNLIKE = "incompatible types for comparison"


def equal(arguments: list[Value], budget: Budget) -> bool:
    """Whether the first value equals any of the others."""
    first, *others = arguments
    if isinstance(first, list | dict):
        raise FunctionFailed(f"uncomparable type {type_name(first)}: ...")
    if not others:
        raise FunctionFailed("missing argument for comparison")
    return any(_equal(first, other, budget) for other in others)


def _equal(first: Value, other: Value, budget: Budget) -> bool:
    if first is None or other is None:
        return first is other
    if type(first) is not type(other):
        raise FunctionFailed(_UNLIKE)
    if isinstance(other, list | dict):
        raise FunctionFailed(f"uncomparable type {type_name(other)}: ...")
    if isinstance(first, str) and isinstance(other, str):
        budget.characters(min(len(first), len(other)))
    return first is other if isinstance(first, Record) else first == other


def less(arguments: list[Value], budget: Budget) -> bool:
    """Whether the first of two values is less than the other."""
    first, other = arguments
    if isinstance(first, bool) or not isinstance(first, int | float | str):
        raise FunctionFailed("invalid type for comparison")
    if isinstance(first, str) and isinstance(other, str):
        budget.characters(min(len(first), len(other)))
        return first < other
    if type(first) is not type(other):
        raise FunctionFailed(_UNLIKE)
    assert isinstance(first, int | float)
    assert isinstance(other, int | float)
    return first < other
