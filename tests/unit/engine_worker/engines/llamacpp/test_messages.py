"""Messages and tools as llama.cpp reads them."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.messages import last_words_joined, message_json, tools_json

WEATHER = pb.Tool(name="weather", description="Tells it.", parameters_json='{"type":"object"}')
NEWS = pb.Tool(name="news")
DEEP = '{"properties":{"a":' * 500 + "{}" + "}}" * 500


def _names(choice: pb.ToolChoice) -> list[str]:
    tools = tools_json([WEATHER, NEWS], choice)["tools"]
    assert isinstance(tools, list)
    return [tool["function"]["name"] for tool in tools]


def test_a_call_and_its_result() -> None:
    call = pb.ToolCall(id="call_1", name="weather", arguments_json='{"a":1}')
    asked = message_json(pb.Message(role="assistant", thinking="Hm.", tool_calls=[call, pb.ToolCall()]))

    assert (asked["content"], asked["reasoning_content"]) == ("", "Hm.")
    assert asked["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"a":1}'}},
        {"id": "", "type": "function", "function": {"name": "", "arguments": "{}"}},
    ]
    result = pb.Message(role="tool", content="Rain.", tool_call_id="call_1", tool_name="weather")
    assert message_json(result) == {
        "role": "tool",
        "content": "Rain.",
        "tool_call_id": "call_1",
        "name": "weather",
    }


def test_the_model_may_choose() -> None:
    body = tools_json([WEATHER, NEWS], pb.ToolChoice())

    assert body == {
        "tools": [
            {
                "type": "function",
                "function": {"name": "weather", "description": "Tells it.", "parameters": {"type": "object"}},
            },
            {
                "type": "function",
                "function": {"name": "news", "description": "", "parameters": {}},
            },
        ],
        "tool_choice": "auto",
    }


def test_a_call_can_be_demanded() -> None:
    required = pb.ToolChoice(mode=pb.ToolChoice.REQUIRED, parallel=False)
    named = pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="news")

    assert _names(required) == ["weather", "news"]
    assert tools_json([NEWS], required)["parallel_tool_calls"] is False
    assert (_names(named), tools_json([NEWS], named)["tool_choice"]) == (["news"], "required")


def test_nothing_is_offered_where_nothing_may_be_called() -> None:
    assert tools_json([WEATHER], pb.ToolChoice(mode=pb.ToolChoice.NONE)) == {}
    assert tools_json([], pb.ToolChoice()) == {}


@pytest.mark.parametrize(
    ("tools", "choice", "why"),
    [
        ([WEATHER], pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="news"), "'news', which is not one"),
        ([], pb.ToolChoice(mode=pb.ToolChoice.REQUIRED), "has no tools"),
        ([pb.Tool(name="bad", parameters_json="{")], pb.ToolChoice(), "'bad' are not JSON"),
        ([pb.Tool(name="deep", parameters_json=DEEP)], pb.ToolChoice(), "'deep' are nested too deeply"),
    ],
)
def test_wishes_that_cannot_be_met(tools: list[pb.Tool], choice: pb.ToolChoice, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        tools_json(tools, choice)


def _said(text: str, thinking: str = "") -> pb.Message:
    return pb.Message(role="assistant", content=text, thinking=thinking)


USER = pb.Message(role="user", content="Hi")
CALLING = pb.Message(role="assistant", tool_calls=[pb.ToolCall(name="news")])


@pytest.mark.parametrize(
    ("messages", "joined"),
    [
        ([USER], [USER]),
        ([USER, _said("a")], [USER, _said("a")]),
        ([USER, _said("")], [USER]),
        ([USER, _said("", "Hm")], [USER, _said("", "Hm")]),
        ([USER, _said("a"), _said("b", "Hm"), _said("c")], [USER, _said("a\n\nb\n\nc", "Hm")]),
        ([USER, _said("a"), _said("")], [USER, _said("a")]),
        ([USER, _said(""), _said("a")], [USER, _said("a")]),
        ([USER, _said("a"), _said("b"), USER], [USER, _said("a"), _said("b"), USER]),
        ([USER, CALLING, _said("a")], [USER, CALLING, _said("a")]),
        ([USER, _said("a"), CALLING], [USER, _said("a"), CALLING]),
        ([], []),
    ],
)
def test_what_the_assistant_says_last_is_one_message_or_none(
    messages: list[pb.Message], joined: list[pb.Message]
) -> None:
    assert last_words_joined(messages) == joined
