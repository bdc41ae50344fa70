"""A tool's parameters: their types as Ollama's decoder checks them, in Go's words.

Only what that decoder reads is looked at. Everything else that a schema says is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json
from frontend.api.core.typed_fields import FieldPath, Reader, mapping, text

_STRUCT = "ToolFunctionParameters"
_ROOT = "tools.function.parameters"
_NO_MAP = "Value looks like object, but can't find closing '}' symbol"
# Deeper ones are refused where they are written out again.
_DEEPEST = 100


def read_parameters(value: Json, place: FieldPath) -> dict[str, Json]:
    """Raises InvalidRequest."""
    parameters = mapping(value, place)
    _check(parameters, _ROOT, {"type": text, "required": _texts}, 0)
    return parameters


def _check(schema: Mapping[str, Json], path: str, readers: Mapping[str, Reader], depth: int) -> None:
    for name, read in readers.items():
        if (given := schema.get(name)) is not None:
            read(given, FieldPath(_STRUCT, f"{path}.{name}"))
    if (properties := schema.get("properties")) is not None:
        if not isinstance(properties, dict):
            raise InvalidRequest(_NO_MAP)
        for each in properties.values():
            _check_property(each, f"{path}.properties", depth + 1)


def _check_property(value: Json, path: str, depth: int) -> None:
    if value is None or depth > _DEEPEST:
        return
    if not isinstance(value, dict):
        raise FieldPath(_STRUCT, path).wrong_kind(value, "api.ToolProperty")
    _check(value, path, _OF_PROPERTY, depth)
    choices = value.get("anyOf")
    for each in choices if isinstance(choices, list) else ():
        _check_property(each, f"{path}.anyOf", depth + 1)


def _texts(value: Json, place: FieldPath) -> None:
    if not isinstance(value, list):
        raise place.wrong_kind(value, "[]string")
    for each in value:
        if each is not None:
            text(each, place)


def _type(value: Json, place: FieldPath) -> None:
    if not isinstance(value, str):
        _texts(value, place)


def _list_of(go_type: str) -> Reader:
    def read(value: Json, place: FieldPath) -> None:
        if not isinstance(value, list):
            raise place.wrong_kind(value, go_type)

    return read


_OF_PROPERTY: Mapping[str, Reader] = {
    "anyOf": _list_of("[]api.ToolProperty"),
    "type": _type,
    "description": text,
    "enum": _list_of("[]interface {}"),
    "required": _texts,
}
