"""Several schemas that hold at one place, read as one: its types, its values, and each keyword's values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

from engine_worker.schemas import keywords
from engine_worker.schemas.malformed import listed, refuse, shown

_ALL_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_IMPLIED = {
    "object": keywords.OF_OBJECTS,
    "array": keywords.OF_ARRAYS,
    "string": keywords.OF_STRINGS,
    "number": keywords.OF_NUMBERS,
}
_PYTHON: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "null": (type(None),),
}


class Merged:
    def __init__(self, schemas: Sequence[dict[str, object]]) -> None:
        self._schemas = schemas
        self.types = self._types()
        self.values = self._values()

    def all(self, keyword: str) -> list[object]:
        return [schema[keyword] for schema in self._schemas if keyword in schema]

    def each(self) -> Sequence[dict[str, object]]:
        return self._schemas

    def _types(self) -> list[str] | None:
        """None: any. A schema that names none means those that its keywords speak of, as in Ollama's grammar:
        `{"properties": …}` is an object.
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
        """What `enum` and `const` leave; None: no such keyword."""
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
    """Equal for equal JSON: 1 and True are not."""
    return json.dumps(value, sort_keys=True, default=repr)


def has_type(value: object, name: str) -> bool:
    if name == "integer":
        is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
        return is_number and value == int(value)  # type: ignore[call-overload]
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
        # An integer is a number.
        common.append("integer")
    return common
