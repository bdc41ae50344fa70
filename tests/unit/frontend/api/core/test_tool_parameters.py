"""Wrong types in tools, in Go's words (recorded side by side with Ollama 0.33)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.anthropic.tools import read_tools as read_anthropic_tools
from frontend.api.core.request import read_tools
from frontend.api.core.typed_fields import FieldPath
from frontend.api.openai.responses.tools import Tools


def _ollama(parameters: Json) -> object:
    function: Json = {"name": "f", "parameters": parameters}
    return read_tools([{"type": "function", "function": function}], FieldPath("ChatRequest", "tools"))


def _anthropic(parameters: Json) -> object:
    return read_anthropic_tools([{"name": "f", "input_schema": parameters}], [])


def _responses(parameters: Json) -> object:
    return Tools.read([{"type": "function", "name": "f", "parameters": parameters}])


DIALECTS = [_ollama, _anthropic, _responses]
READS = (
    "json: cannot unmarshal {} into Go struct field ToolFunctionParameters.tools.function.parameters.{} "
    "of type {}"
)


@pytest.mark.parametrize("read", DIALECTS)
@pytest.mark.parametrize(
    ("parameters", "kind", "field", "go_type"),
    [
        ({"type": ["object"]}, "array", "type", "string"),
        ({"type": "object", "required": "x"}, "string", "required", "[]string"),
        ({"type": "object", "required": ["x", 1]}, "number", "required", "string"),
        ({"properties": {"b": True}}, "bool", "properties", "api.ToolProperty"),
        ({"properties": {"a": {"type": 5}}}, "number", "properties.type", "[]string"),
        ({"properties": {"a": {"type": ["string", 5]}}}, "number", "properties.type", "string"),
        ({"properties": {"a": {"description": []}}}, "array", "properties.description", "string"),
        ({"properties": {"a": {"enum": "x"}}}, "string", "properties.enum", "[]interface {}"),
        ({"properties": {"a": {"anyOf": {}}}}, "object", "properties.anyOf", "[]api.ToolProperty"),
        ({"properties": {"a": {"anyOf": [1]}}}, "number", "properties.anyOf", "api.ToolProperty"),
        (
            {"properties": {"a": {"properties": {"b": {"required": {}}}}}},
            "object",
            "properties.properties.required",
            "[]string",
        ),
    ],
)
def test_wrong_types_are_refused_in_every_dialect(
    read: Callable[[Json], object], parameters: Json, kind: str, field: str, go_type: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(parameters)
    assert refused.value.message == READS.format(kind, field, go_type)


@pytest.mark.parametrize("read", DIALECTS)
def test_properties_that_are_no_object_are_refused(read: Callable[[Json], object]) -> None:
    with pytest.raises(InvalidRequest, match="Value looks like object"):
        read({"properties": 5})


@pytest.mark.parametrize("read", DIALECTS)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"type": None, "properties": None, "required": None},
        {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": None}, "required": ["a"]},
        {"properties": {"a": {"$ref": "#/$defs/A", "default": 1, "pattern": 5}}, "$defs": {"A": True}},
    ],
)
def test_other_keys_of_a_schema_are_not_checked(read: Callable[[Json], object], parameters: Json) -> None:
    assert read(parameters)
