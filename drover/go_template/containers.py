"""Go's len, index and slice. Positions in a text are offsets of UTF-8 bytes."""

from __future__ import annotations

from itertools import pairwise

from drover.go_template.errors import Budget, FunctionFailed
from drover.go_template.values import Value, type_name


def length(value: Value, budget: Budget) -> int:
    match value:
        case str():
            return _byte_length(value, budget)
        case list() | dict():
            return len(value)
        case None:
            raise FunctionFailed("len of nil pointer")
        case _:
            raise FunctionFailed(f"len of type {type_name(value)}")


def index(value: Value, keys: list[Value], budget: Budget) -> Value:
    if value is None:
        raise FunctionFailed("index of untyped nil")
    for key in keys:
        value = _at(value, key, budget)
    return value


def _at(value: Value, key: Value, budget: Budget) -> Value:
    match value:
        case str():
            at = _position(key, _byte_length(value, budget) - 1)
            return _bytes(value, budget)[at]
        case list():
            return value[_position(key, len(value) - 1)]
        case dict():
            if not isinstance(key, str):
                raise FunctionFailed(f"value has type {type_name(key)}; should be string")
            return value.get(key)
        case None:
            raise FunctionFailed("index of nil pointer")
        case _:
            raise FunctionFailed(f"can't index item of type {type_name(value)}")


def slice_of(value: Value, indexes: list[Value], budget: Budget) -> Value:
    if value is None:
        raise FunctionFailed("slice of untyped nil")
    if len(indexes) > 3:
        raise FunctionFailed(f"too many slice indexes: {len(indexes)}")
    if not isinstance(value, str | list):
        raise FunctionFailed(f"can't slice item of type {type_name(value)}")
    if isinstance(value, str) and len(indexes) == 3:
        raise FunctionFailed("cannot 3-index slice a string")
    size = _byte_length(value, budget) if isinstance(value, str) else len(value)
    bounds = [_position(index, size) for index in indexes]
    for earlier, later in pairwise(bounds):
        if earlier > later:
            raise FunctionFailed(f"invalid slice index: {earlier} > {later}")
    start = bounds[0] if bounds else 0
    end = bounds[1] if len(bounds) > 1 else size
    if isinstance(value, list):
        budget.step((end - start) // 64)
        return value[start:end]
    return _bytes(value, budget)[start:end].decode(errors="replace")


def _position(index: Value, most: int) -> int:
    if index is None:
        raise FunctionFailed("cannot index slice/array with nil")
    if type(index) is not int:
        raise FunctionFailed(f"cannot index slice/array with type {type_name(index)}")
    if not 0 <= index <= most:
        raise FunctionFailed(f"index out of range: {index}")
    return index


def _byte_length(text: str, budget: Budget) -> int:
    return len(text) if text.isascii() else len(_bytes(text, budget))


def _bytes(text: str, budget: Budget) -> bytes:
    budget.characters(len(text))
    return text.encode(errors="replace")
