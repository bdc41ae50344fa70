"""Several schemas that hold for one value, read as one: types, `enum` and `const`, and other keywords."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

from engine_worker.schemas import keywords, schema_reader
from engine_worker.schemas.schema_reader import listed, refuse, shown

_ALL_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_IMPLIED = {
    "object": keywords.OBJECT_KEYWORDS,
    "array": keywords.ARRAY_KEYWORDS,
    "string": keywords.STRING_KEYWORDS,
    "number": keywords.NUMBER_KEYWORDS,
}
_PYTHON: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "null": (type(None),),
}


class MergedSchema:
    def __init__(self, schemas: Sequence[dict[str, object]]) -> None:
        self._schemas = schemas
        self.types = self._types()
        self.values = self._values()

    def all(self, keyword: str) -> list[object]:
        return [schema[keyword] for schema in self._schemas if keyword in schema]

    def each(self) -> Sequence[dict[str, object]]:
        return self._schemas

    def _types(self) -> list[str] | None:
        """The allowed types; None for any. Without `type`, keywords imply the types that they apply to, as in
        Ollama's grammar: `{"properties": …}` is an object.
        """
        named: list[str] | None = None
        for schema in self._schemas:
            if "type" in schema:
                named = _common(named, _named(schema))
        if named is not None or any("const" in schema or "enum" in schema for schema in self._schemas):
            return named
        implied = [
            name
            for name, words in _IMPLIED.items()
            if any(word in schema for schema in self._schemas for word in words)
        ]
        return implied or None

    def _values(self) -> list[object] | None:
        """The values that `enum` and `const` allow; None without these keywords."""
        values: list[object] | None = None
        for schema in self._schemas:
            for keyword in ("enum", "const"):
                if keyword in schema:
                    here = listed("enum", schema["enum"]) if keyword == "enum" else [schema["const"]]
                    values = here if values is None else _both(values, here)
        if values is None or self.types is None:
            return values
        return [value for value in values if any(has_type(value, name) for name in self.types)]


def _both(values: Sequence[object], others: Sequence[object]) -> list[object]:
    known = {_key(other) for other in others}
    return [value for value in values if _key(value) in known]


def _key(value: object) -> str:
    """A key that is equal for equal JSON values; 1 and True differ."""
    return json.dumps(value, sort_keys=True, default=repr)


def has_type(value: object, name: str) -> bool:
    if name == "integer":
        is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
        return is_number and value == int(value)  # type: ignore[call-overload]  # is_number narrows it
    if name == "number" and isinstance(value, bool):
        return False
    return isinstance(value, _PYTHON[name])


def _named(schema: dict[str, object]) -> list[str]:
    value = schema["type"]
    names = value if isinstance(value, list) else [value]
    for name in names:
        if name not in _ALL_TYPES:
            refuse(f"`type` {shown(name)} is none of {', '.join(_ALL_TYPES)}")
    if schema.get("nullable") is True and "null" not in names:
        return [*names, "null"]
    return list(names)


def _common(names: list[str] | None, others: list[str]) -> list[str]:
    if names is None:
        return list(dict.fromkeys(others))
    common = [name for name in names if name in others]
    if "integer" not in common and any({"integer", "number"} == {a, b} for a in names for b in others):
        # Every integer is a number.
        common.append("integer")
    return common


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
_KEYWORDS_OF_TYPE: tuple[tuple[type | tuple[type, ...], set[str]], ...] = (
    (str, keywords.STRING_KEYWORDS),
    ((int, Decimal), keywords.NUMBER_KEYWORDS),
    (list, keywords.ARRAY_KEYWORDS),
    (dict, keywords.OBJECT_KEYWORDS),
)


def allowed_values(merged: MergedSchema, values: list[object], drop: Drop) -> list[object]:
    """Those `values` of `enum` and `const` that the keywords next to them allow.

    Bounds, lengths and multiples are checked. Other keywords that apply to a value's type are reported with
    `drop`.
    """
    for kind, words in _KEYWORDS_OF_TYPE:
        of_kind = [value for value in values if isinstance(value, kind) and not isinstance(value, bool)]
        for keyword in sorted(words) if of_kind else ():
            for limit in merged.all(keyword):
                refused = [value for value in of_kind if not _obeys(value, keyword, limit, drop)]
                values = [value for value in values if not any(value is each for each in refused)]
    return values


def _obeys(value: object, keyword: str, limit: object, drop: Drop) -> bool:
    if keyword in _BOUNDS and (bound := schema_reader.number(limit)) is not None:
        assert isinstance(value, int | Decimal)
        return _BOUNDS[keyword](Decimal(value), bound)
    if keyword in _LENGTHS and (count := schema_reader.count(limit)) is not None:
        assert isinstance(value, str)
        return _LENGTHS[keyword](len(value), count)
    if keyword == "multipleOf" and (factor := schema_reader.number(limit)) is not None and factor > 0:
        assert isinstance(value, int | Decimal)
        return Fraction(value) % Fraction(factor) == 0
    drop(keyword)
    return True
