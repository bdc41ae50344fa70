"""Tools as a template shows them, and as llama.cpp's grammar gets them."""

from __future__ import annotations

import json

import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.messages import shown_tools, tools_json
from engine_worker.output.tool_calls import chosen_tools
from engine_worker.schemas.call_grammar import functions_of

WEATHER = pb.Tool(name="weather", description="Tells it.", parameters_json='{"type":"object"}')
NEWS = pb.Tool(name="news")
ANY = {"type": "object", "properties": {}, "additionalProperties": True}
NONE = {"type": "object", "properties": {}, "additionalProperties": False}


def test_tool_choice_auto() -> None:
    assert tools_json(functions_of([WEATHER, NEWS]), pb.ToolChoice()) == {
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Tells it.", "parameters": ANY},
            },
            {"type": "function", "function": {"name": "news", "description": "", "parameters": NONE}},
        ],
        "tool_choice": "auto",
    }
    assert tools_json(functions_of([NEWS]), pb.ToolChoice(parallel=False))["parallel_tool_calls"] is False


def test_tool_choice_selects_the_tools() -> None:
    both = [WEATHER, NEWS]

    assert chosen_tools(both, pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)) == both
    assert chosen_tools(both, pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="news")) == [NEWS]
    assert not chosen_tools(both, pb.ToolChoice(mode=pb.ToolChoice.NONE))
    assert not chosen_tools([], pb.ToolChoice())


@pytest.mark.parametrize(
    ("tools", "choice", "why"),
    [
        ([WEATHER], pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="news"), "'news', which is not one"),
        ([], pb.ToolChoice(mode=pb.ToolChoice.REQUIRED), "has no tools"),
    ],
)
def test_a_tool_choice_without_its_tool_is_rejected(
    tools: list[pb.Tool], choice: pb.ToolChoice, why: str
) -> None:
    with pytest.raises(InvalidRequest, match=why):
        chosen_tools(tools, choice)


# A function's parameters as clients send them, and as Ollama 0.33 shows them to a GGUF's template.
_SHOWN = [
    (
        '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}',
        '{"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}',
    ),
    (
        '{"type": "object", "properties": {"x": {"enum": ["c"], "description": "u", "type": "string"}}}',
        '{"type": "object", "properties": {"x": {"type": "string", "description": "u", "enum": ["c"]}}}',
    ),
    (
        '{"type": "object", "properties": {"x": {"type": ["string", "null"]}}}',
        '{"type": "object", "properties": {"x": {"type": ["string", "null"]}}}',
    ),
    (
        '{"properties": {"x": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}, "type": "object"}',
        '{"type": "object", "properties": {"x": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}',
    ),
    (
        '{"type": "object", "properties": {"x": {"items": {"minLength": 1}, "type": "array"}}}',
        '{"type": "object", "properties": {"x": {"type": "array", "items": {"minLength": 1}}}}',
    ),
    (
        '{"$ref": "#/$defs/x", "$defs": {"x": {"type": "object"}}, "type": "object", "properties": {}}',
        '{"type": "object", "$defs": {"x": {"type": "object"}}, "properties": {}}',
    ),
    ('{"type": "object", "properties": {"x": {"const": 5}}}', '{"type": "object", "properties": {"x": {}}}'),
    (
        '{"type": "object", "properties": {"x": {"type": "string", "default": "q", "minLength": 2}},'
        ' "additionalProperties": false}',
        '{"type": "object", "properties": {"x": {"type": "string"}}}',
    ),
    ("", '{"type": "object", "properties": {}}'),
]


@pytest.mark.parametrize(("sent", "shown"), _SHOWN)
def test_the_prompt_shows_what_ollama_shows_in_its_order(sent: str, shown: str) -> None:
    (tool,) = shown_tools([pb.Tool(name="f", parameters_json=sent)])

    assert json.dumps(tool) == (
        f'{{"type": "function", "function": {{"name": "f", "description": "", "parameters": {shown}}}}}'
    )


def test_the_prompt_shows_references_and_what_they_mean() -> None:
    parameters = {"properties": {"s": {"$ref": "#/$defs/S"}}, "$defs": {"S": {"enum": ["passed", "failed"]}}}

    (tool,) = shown_tools([pb.Tool(name="f", parameters_json=json.dumps(parameters))])

    assert tool["function"]["parameters"] == {"type": "object", **parameters}  # type: ignore[index]  # JSON values are objects
