"""forced_call: the schemas in what SGLang's layer writes to force a call."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.call_grammars import call_grammar, forced_call
from engine_worker.output.call_markup import BARE_LIST, CallMarkup

TAGS: dict[str, object] = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"$ref": "#/$defs/T"}, "uniqueItems": True}},
    "$defs": {"T": {"enum": ["a", "b"]}},
}


def test_a_list_of_calls_is_a_grammar_of_ours_and_finds_definitions_within() -> None:
    calls = {"type": "array", "items": {"properties": {"parameters": TAGS}}}
    forced = forced_call("json_schema", json.dumps(calls), takes_grammars=True)

    assert list(forced.parameters) == ["ebnf"]
    assert '"a\\u0022"' not in str(forced.parameters["ebnf"])
    assert "\\u0022parameters\\u0022" in str(forced.parameters["ebnf"])
    assert forced.not_honoured == ["tools.uniqueItems"]


def test_without_grammars_the_schema_is_simple() -> None:
    schema = forced_call("json_schema", json.dumps(TAGS), takes_grammars=False).parameters["json_schema"]

    assert json.loads(str(schema))["additionalProperties"] is False
    assert "uniqueItems" not in str(schema)


def test_schemas_in_tags_are_grammars() -> None:
    tag = {"format": {"type": "tag", "begin": "<f>", "content": {"type": "json_schema", "json_schema": TAGS}}}
    forced = forced_call("structural_tag", json.dumps(tag), takes_grammars=True)
    content = json.loads(str(forced.parameters["structural_tag"]))["format"]["content"]

    assert content["type"] == "grammar"
    assert content["grammar"].startswith("root ::= ")
    assert forced.not_honoured == ["tools.uniqueItems"]


def test_a_format_that_is_not_json_has_simple_schemas() -> None:
    tag = {"format": {"type": "qwen_xml_parameter", "json_schema": TAGS}}
    forced = forced_call("structural_tag", json.dumps(tag), takes_grammars=True)
    content = json.loads(str(forced.parameters["structural_tag"]))["format"]

    assert content["type"] == "qwen_xml_parameter"
    assert content["json_schema"]["additionalProperties"] is False


def test_a_grammar_of_the_whole_answer_stays_as_it_is() -> None:
    forced = forced_call("full_assistant_ebnf", "root ::= x", takes_grammars=True)

    assert forced.parameters == {"ebnf": "root ::= x", "ebnf_full_assistant": True}


def test_tools_that_are_too_large_together_are_refused() -> None:
    wide = {"type": "object", "properties": {f"p{each}": {"type": "string"} for each in range(250)}}
    content = {"type": "json_schema", "json_schema": wide}
    tag = {"format": {"type": "or", "elements": [content] * 40}}

    with pytest.raises(ConstraintRejected, match="grammar of the tools is too large"):
        forced_call("structural_tag", json.dumps(tag), takes_grammars=True)


def test_numbers_with_fractions_are_kept() -> None:
    half: dict[str, object] = {"type": "number", "enum": [0.5]}
    bounded: dict[str, object] = {"type": "number", "minimum": 0.5, "maximum": 0.5}
    tag = {"format": {"type": "xml", "json_schema": {"properties": {"half": half}}}, "weight": 0.25}
    calls = forced_call("json_schema", json.dumps({"items": half}), takes_grammars=True)
    grammar = forced_call("json_schema", json.dumps(bounded), takes_grammars=True)
    tagged = forced_call("structural_tag", json.dumps(tag), takes_grammars=True)
    sent = json.loads(str(tagged.parameters["structural_tag"]))

    assert '"0.5"' in str(calls.parameters["ebnf"])
    assert grammar.not_honoured == []
    assert sent["format"]["json_schema"]["properties"]["half"]["enum"] == [0.5]
    assert sent["weight"] == 0.25


MARKUP = CallMarkup("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
SCHEMA = '{"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}'


def _offering(input_grammar: str) -> pb.GenerateRequest:
    request = pb.GenerateRequest()
    request.chat.tools.add(
        name="patch", parameters_json=SCHEMA, input_grammar=input_grammar, input_syntax="lark"
    )
    return request


async def test_a_custom_tool_s_grammar_makes_calls_after_free_text() -> None:
    made = await call_grammar(_offering('start: "*" /a+/'), None, MARKUP, can_make=True)

    assert made is not None
    assert (made.is_forced, set(made.names), list(made.not_honoured)) == (False, {"patch"}, [])
    assert "free_text" in made.grammar


@pytest.mark.parametrize(
    ("definition", "markup", "can_make"),
    [
        ("", MARKUP, True),
        ("start: <special>", MARKUP, True),
        ('start: "a"', None, True),
        ('start: "a"', BARE_LIST, True),
        ('start: "a"', replace(MARKUP, is_own=False), True),
        ('start: "a"', MARKUP, False),
    ],
)
async def test_without_a_grammar_that_can_be_enforced_answers_are_free(
    definition: str, markup: CallMarkup | None, can_make: bool
) -> None:
    assert await call_grammar(_offering(definition), None, markup, can_make) is None
