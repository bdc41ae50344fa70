"""A function's parameters as far as Ollama reads them (ollama-api.md section 2.3).

llama.cpp makes a grammar of them and refuses what it cannot read; what Ollama drops must not matter here.
"""

from __future__ import annotations

from collections.abc import Callable

from engine_worker.engines.llamacpp.api import Json

_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
# llama.cpp takes a property that says nothing for an object.
_ANYTHING = sorted(_TYPES - {"integer"})


def readable_parameters(parameters: object) -> Json:
    """Of a whole function; its arguments are an object, whatever is said, and none if nothing is."""
    if not isinstance(parameters, dict) or not parameters:
        return {}
    return {**_kept(parameters, _OF_PARAMETERS), "type": "object"}


def _property(schema: object) -> Json:
    kept = _kept(schema, _OF_PROPERTY)
    return kept if kept.keys() & _SAYING_WHAT else {**kept, "type": _ANYTHING}


def _kept(schema: object, readers: dict[str, Reader]) -> Json:
    if not isinstance(schema, dict):
        return {}
    kept = {name: readers[name](value) for name, value in schema.items() if name in readers}
    return {name: value for name, value in kept.items() if value}


Reader = Callable[[object], object]


def _type(value: object) -> object:
    if isinstance(value, list):
        return [each for each in value if isinstance(each, str) and each in _TYPES]
    return value if isinstance(value, str) and value in _TYPES else None


def _properties(value: object) -> Json:
    return {name: _property(schema) for name, schema in value.items()} if isinstance(value, dict) else {}


def _alternatives(value: object) -> list[Json]:
    return [_property(schema) for schema in value] if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _text(value: object) -> object:
    return value if isinstance(value, str) else None


def _values(value: object) -> object:
    return value if isinstance(value, list) else None


_OF_PARAMETERS: dict[str, Reader] = {"properties": _properties, "required": _texts}
_OF_PROPERTY: dict[str, Reader] = {
    **_OF_PARAMETERS,
    "type": _type,
    "description": _text,
    "enum": _values,
    "items": _property,
    "anyOf": _alternatives,
}
_SAYING_WHAT = {"type", "enum", "anyOf", "properties", "items"}
