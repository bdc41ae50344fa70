"""A tool's parameters reduced to what any grammar can be made of.

Ollama accepts any `parameters`. So a malformed schema must not fail the request, and llama.cpp, which makes a
grammar of its own, must not get keywords that it rejects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from engine_worker.schemas.schema_reader import JsonObject as Json

_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
# Sent for a property without a type, which llama.cpp would take for an object.
_ANYTHING = sorted(_TYPES - {"integer"})
_TYPE_KEYWORDS = {"$ref", "type", "enum", "anyOf", "properties", "items"}
_DEFINITIONS = ("$defs", "definitions")
_NO_ARGUMENTS: Json = {"type": "object", "properties": {}, "additionalProperties": False}

Reader = Callable[[object], object]


def readable_parameters(parameters: object) -> Json:
    """The parameters of a function as a schema of an object, which is empty without parameters."""
    if not isinstance(parameters, dict) or not parameters:
        return _NO_ARGUMENTS
    pointers = {
        f"#/{kind}/{name}": schema
        for kind in _DEFINITIONS
        for name, schema in _object(parameters.get(kind)).items()
    }
    return _Schemas([pointer for pointer in pointers if _is_defined(pointer, pointers)]).of_function(
        parameters
    )


def _is_defined(pointer: object, pointers: Mapping[str, object]) -> bool:
    """Whether the chain of references that begins here ends at a schema, and is no cycle."""
    passed = set[str]()
    while isinstance(pointer, str) and pointer in pointers:
        if pointer in passed:
            return False
        passed.add(pointer)
        pointer = _object(pointers[pointer]).get("$ref")
    return True


class _Schemas:
    """`pointers`: pointers that references may name."""

    def __init__(self, pointers: Collection[str]) -> None:
        self._pointers = pointers
        self._of_object: dict[str, Reader] = {
            "properties": self._properties,
            "required": _texts,
            "additionalProperties": self._additional,
        }
        self._of_property: dict[str, Reader] = {
            "$ref": self._reference,
            "type": _type,
            "description": _text,
            "enum": _values,
            "items": self._property,
            "anyOf": self._alternatives,
            **self._of_object,
        }

    def of_function(self, parameters: Json) -> Json:
        readers = {**self._of_object, **dict.fromkeys(_DEFINITIONS, self._properties)}
        return _closed({**_kept(parameters, readers), "type": "object"}, parameters)

    def _property(self, schema: object) -> Json:
        kept = _kept(schema, self._of_property)
        if not kept.keys() & _TYPE_KEYWORDS:
            return {**kept, "type": _ANYTHING}
        return _closed(kept, _object(schema))

    def _properties(self, value: object) -> Json:
        return {name: self._property(schema) for name, schema in _object(value).items()}

    def _alternatives(self, value: object) -> list[Json]:
        return [self._property(schema) for schema in value] if isinstance(value, list) else []

    def _additional(self, value: object) -> object:
        if isinstance(value, dict) and value:
            return self._property(value)
        return value is True or value == {}

    def _reference(self, value: object) -> object:
        return value if isinstance(value, str) and value in self._pointers else None


def _closed(kept: Json, schema: Json) -> Json:
    """Allow only listed properties, and require only those, in an object that lists properties."""
    if not isinstance(schema.get("properties"), dict):
        return kept
    properties = _object(kept.get("properties"))
    required = [name for name in _texts(kept.get("required")) if name in properties]
    rest = {name: value for name, value in kept.items() if name != "required"}
    closed = {**rest, "properties": properties, **({"required": required} if required else {})}
    return {"additionalProperties": False, **closed}


def _kept(schema: object, readers: dict[str, Reader]) -> Json:
    kept = {name: readers[name](value) for name, value in _object(schema).items() if name in readers}
    return {name: value for name, value in kept.items() if value}


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _type(value: object) -> object:
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str) and each in _TYPES]
    return value if isinstance(value, str) and value in _TYPES else None


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _text(value: object) -> object:
    return value if isinstance(value, str) else None


def _values(value: object) -> object:
    return value if isinstance(value, list) else None
