"""A tool's parameters reduced to what a grammar can be made of."""

from __future__ import annotations

import pytest

from engine_worker.schemas.tool_schema import readable_parameters

ANYTHING = {"type": ["array", "boolean", "null", "number", "object", "string"]}


def _of(schema: object) -> object:
    """What becomes of a property."""
    properties = readable_parameters({"properties": {"a": schema}})["properties"]
    assert isinstance(properties, dict)
    return properties["a"]


def test_meaningful_keywords_are_kept() -> None:
    schema = {
        "properties": {
            "city": {"type": "string", "description": "Where.", "enum": ["Paris"]},
            "days": {"type": "array", "items": {"type": ["integer", "null"]}},
            "how": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
        },
        "required": ["city"],
    }
    assert readable_parameters(schema) == {"type": "object", "additionalProperties": False, **schema}


@pytest.mark.parametrize("kind", ["$defs", "definitions"])
def test_references_are_kept_with_their_definitions(kind: str) -> None:
    schema = {
        "type": "object",
        "properties": {
            "s": {"$ref": f"#/{kind}/S"},
            "more": {"type": "array", "items": {"$ref": f"#/{kind}/S"}},
        },
        kind: {"S": {"type": "string", "enum": ["passed", "failed"]}},
    }
    assert readable_parameters(schema) == {**schema, "additionalProperties": False}


def test_unsupported_keywords_are_removed() -> None:
    schema = {"type": "string", "format": "date", "minimum": 1, "pattern": "(", "default": "x"}
    assert _of(schema) == {"type": "string"}
    assert readable_parameters({"$schema": "x", "additionalProperties": False}) == {"type": "object"}


@pytest.mark.parametrize(
    "schema",
    [True, None, {}, {"type": "any"}, {"type": "str"}, {"type": ["any"]}, {"type": {}}, {"type": [{}]},
     {"enum": []}, {"anyOf": []}, {"$ref": "#/nowhere"}, {"$ref": 5}, {"oneOf": [{"type": "string"}]}],
)  # fmt: skip
def test_a_property_without_a_type_may_have_any_value(schema: object) -> None:
    assert _of(schema) == ANYTHING


def test_the_description_of_a_parameter_stays() -> None:
    assert _of({"type": "any", "description": "Whatever."}) == {"description": "Whatever.", **ANYTHING}


def test_nested_schemas_are_reduced_too() -> None:
    assert _of({"type": "array", "items": {"type": "any"}}) == {"type": "array", "items": ANYTHING}
    assert _of({"anyOf": [{"type": "str"}]}) == {"anyOf": [ANYTHING]}


def test_an_object_has_only_listed_properties() -> None:
    assert _of({"properties": {"b": True}, "required": ["b", "c", 1]}) == {
        "properties": {"b": ANYTHING},
        "required": ["b"],
        "additionalProperties": False,
    }
    open_object = {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": True}
    assert _of(open_object) == open_object


@pytest.mark.parametrize("schema", [{}, True, None, [], {"type": "object", "properties": {}}])
def test_a_function_that_names_no_parameters_has_no_arguments(schema: object) -> None:
    assert readable_parameters(schema) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"properties": 1, "required": 1}])
def test_arguments_are_always_an_object(schema: object) -> None:
    assert readable_parameters(schema) == {"type": "object"}
