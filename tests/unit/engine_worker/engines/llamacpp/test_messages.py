"""Messages as llama.cpp reads them."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.messages import join_last_assistant_messages, message_json, messages_json


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
def test_assistant_messages_at_the_end_are_joined_or_dropped(
    messages: list[pb.Message], joined: list[pb.Message]
) -> None:
    assert join_last_assistant_messages(messages) == joined


def test_thinking_before_the_last_user_message_is_removed() -> None:
    messages = [
        USER,
        _said("a", "old"),
        USER,
        _said("", "plan"),
        pb.Message(role="tool", content="r"),
        _said("b", "now"),
    ]

    shown = [message.get("reasoning_content") for message in messages_json(messages)]

    assert shown == [None, None, None, "plan", None, "now"]
    assert messages_json([_said("a", "first")])[0]["reasoning_content"] == "first"
