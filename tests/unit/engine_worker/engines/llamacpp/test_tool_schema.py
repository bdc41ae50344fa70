"""Of a function's schema llama.cpp sees what Ollama reads of it."""

from __future__ import annotations

import pytest

from engine_worker.engines.llamacpp.tool_schema import readable_parameters

ANYTHING = {"type": ["array", "boolean", "null", "number", "object", "string"]}


def _of(schema: object) -> object:
    """What becomes of a property."""
    properties = readable_parameters({"properties": {"a": schema}})["properties"]
    assert isinstance(properties, dict)
    return properties["a"]


def test_what_ollama_keeps_stays() -> None:
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where.", "enum": ["Paris"]},
            "days": {"type": "array", "items": {"type": ["integer", "null"]}},
            "how": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"x": {"type": "null"}}}]},
        },
        "required": ["city"],
    }
    assert readable_parameters(schema) == schema


def test_what_ollama_drops_goes() -> None:
    schema = {"type": "string", "format": "date", "minimum": 1, "pattern": "(", "default": "x"}
    assert _of(schema) == {"type": "string"}
    assert readable_parameters({"$schema": "x", "additionalProperties": False}) == {"type": "object"}


@pytest.mark.parametrize(
    "schema",
    [True, None, {}, {"type": "any"}, {"type": "str"}, {"type": ["any"]}, {"type": {}}, {"type": [{}]},
     {"enum": []}, {"anyOf": []}, {"$ref": "#/nowhere"}, {"oneOf": [{"type": "string"}]}],
)  # fmt: skip
def test_a_property_that_says_nothing_may_be_anything(schema: object) -> None:
    assert _of(schema) == ANYTHING


def test_its_description_stays() -> None:
    assert _of({"type": "any", "description": "Whatever."}) == {"description": "Whatever.", **ANYTHING}


def test_inner_schemas_too() -> None:
    assert _of({"type": "array", "items": {"type": "any"}}) == {"type": "array", "items": ANYTHING}
    assert _of({"anyOf": [{"type": "str"}]}) == {"anyOf": [ANYTHING]}
    assert _of({"properties": {"b": True}, "required": ["b", 1]}) == {
        "properties": {"b": ANYTHING},
        "required": ["b"],
    }


@pytest.mark.parametrize("schema", [{}, True, None, []])
def test_a_function_that_says_nothing_has_no_arguments(schema: object) -> None:
    assert readable_parameters(schema) == {}


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"properties": 1, "required": 1}])
def test_arguments_are_an_object_whatever_is_said(schema: object) -> None:
    assert readable_parameters(schema) == {"type": "object"}
