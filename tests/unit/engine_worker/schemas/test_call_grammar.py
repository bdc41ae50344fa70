"""Constraints of a tool's arguments: as exact as a format's, and malformed parts are no error."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.call_grammar import functions_of
from engine_worker.schemas.constraint import plain_json

NONE = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
ANYTHING = {"type": "object", "properties": {}, "required": [], "additionalProperties": {}}


def _schema(parameters: str) -> object:
    (function,) = functions_of([pb.Tool(name="f", parameters_json=parameters)])
    return plain_json(function.arguments.schema)


def test_references_are_resolved_and_parts_merged() -> None:
    schema = _schema(
        '{"allOf":[{"properties":{"s":{"$ref":"#/$defs/S"}},"required":["s"]},{"properties":{"n":{"type":"null"}}}],'
        '"$defs":{"S":{"type":"string","enum":["passed","failed"]}}}'
    )

    assert schema == {
        "type": "object",
        "properties": {"s": {"$ref": "#/$defs/d0"}, "n": {"type": "null"}},
        "required": ["s"],
        "additionalProperties": False,
        "$defs": {"d0": {"enum": ["passed", "failed"]}},
    }


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        ("", NONE),
        ("{}", NONE),
        ("null", NONE),
        ('{"type":"object","properties":{}}', NONE),
        ('{"type":"object"}', ANYTHING),
        ('{"type":"object","properties":{},"additionalProperties":true}', ANYTHING),
        ('{"type":"nonsense"}', ANYTHING),
    ],
)
def test_arguments_are_an_object_and_none_where_no_parameters_are_named(
    parameters: str, schema: object
) -> None:
    assert _schema(parameters) == schema


@pytest.mark.parametrize(
    "parameters",
    [
        '{"properties":{"a":{"$ref":"#/properties/a"}}}',
        '{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/A"}}}',
        '{"properties":{"a":{"$ref":"#/$defs/A"}},"$defs":{"A":{"$ref":"#/$defs/B"},"B":{"$ref":"#/$defs/A"}}}',
    ],
)
def test_a_reference_that_only_leads_back_to_itself_is_left_out(parameters: str) -> None:
    schema = _schema(parameters)

    assert isinstance(schema, dict)
    ((name, of_a),) = schema["properties"].items()
    assert name == "a"
    assert {"type": "null"} in of_a["anyOf"]


@pytest.mark.parametrize(
    "of_a",
    [
        "true",
        '{"enum":[]}',
        '{"type":"any"}',
        '{"description":"A number."}',
        '{"$ref":"#/nowhere"}',
        '{"type":5}',
    ],
)
def test_malformed_parts_of_a_tools_schema_are_left_out(of_a: str) -> None:
    schema = _schema(f'{{"properties":{{"a":{of_a},"b":{{"type":"null"}}}},"required":["a"]}}')

    assert isinstance(schema, dict)
    assert list(schema["properties"]) == ["a", "b"]
    assert (schema["properties"]["b"], schema["required"]) == ({"type": "null"}, ["a"])


@pytest.mark.parametrize(
    ("parameters", "why"),
    [("{", "tool 'f': .* is not JSON"), ('{"properties":{"a":' * 500 + "{}" + "}}" * 500, "nested too deep")],
)
def test_parameters_that_are_not_json_are_rejected(parameters: str, why: str) -> None:
    with pytest.raises(ConstraintRejected, match=why):
        _schema(parameters)
