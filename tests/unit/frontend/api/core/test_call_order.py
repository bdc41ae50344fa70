"""Results of parallel calls reach the model in the order of the calls, in every dialect."""

from __future__ import annotations

import pytest

from drover.json_value import Json
from frontend.api.core.call_order import in_call_order
from frontend.api.core.request import Message, ToolCall
from tests.fakes.stalling_worker import StallingWorker, content, default_model, done, started
from tests.unit.frontend.api.conftest import Start


def call(name: str, call_id: str = "") -> ToolCall:
    return ToolCall(name, "{}", call_id)


def asking(*calls: ToolCall) -> Message:
    return Message("assistant", tool_calls=[*calls])


def result(content: str, call_id: str = "", name: str = "") -> Message:
    return Message("tool", content, tool_call_id=call_id, tool_name=name)


def contents(messages: list[Message]) -> list[str]:
    return [message.content for message in messages if message.role == "tool"]


def test_results_are_sorted_by_call_ids() -> None:
    messages = [
        asking(call("f", "1"), call("f", "2"), call("g", "3")),
        *[result(number, number) for number in "312"],
    ]
    assert contents(in_call_order(messages)) == ["1", "2", "3"]


def test_results_without_ids_are_sorted_by_function_names() -> None:
    messages = [
        asking(call("f"), call("g"), call("f")),
        result("of g", name="g"),
        result("of f", name="f"),
        result("of f again", name="f"),
    ]
    assert contents(in_call_order(messages)) == ["of f", "of g", "of f again"]


def test_each_turn_is_sorted_separately() -> None:
    """Some clients number the calls of each turn anew."""
    turn = [asking(call("f", "1"), call("f", "2")), result("b", "2"), result("a", "1")]
    assert contents(in_call_order([*turn, *turn])) == ["a", "b", "a", "b"]


def test_results_of_no_call_keep_their_positions() -> None:
    messages = [
        asking(call("f", "1"), call("f", "2")),
        result("b", "2"),
        result("?", "9"),
        Message("user", "And?"),
        result("a", "1"),
    ]
    ordered = in_call_order(messages)
    assert [message.content for message in ordered] == ["", "a", "?", "And?", "b"]


def test_calls_of_several_messages_in_a_row() -> None:
    messages = [asking(call("f", "1")), asking(call("f", "2")), result("b", "2"), result("a", "1")]
    assert contents(in_call_order(messages)) == ["a", "b"]


def test_results_that_cannot_be_paired_keep_their_positions() -> None:
    messages = [asking(call("f"), call("f")), result("x"), result("y"), Message("user", "?")]
    assert in_call_order(messages) == messages


_CALLS: list[Json] = [
    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    {"id": "2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
]
_NATIVE_CALLS: list[Json] = [{"function": {"name": name, "arguments": {}}} for name in ("f", "g")]
_USES: list[Json] = [
    {"type": "tool_use", "id": "1", "name": "f", "input": {}},
    {"type": "tool_use", "id": "2", "name": "g", "input": {}},
]
_BODIES: dict[str, Json] = {
    "/api/chat": {
        "messages": [
            {"role": "assistant", "tool_calls": _NATIVE_CALLS},
            {"role": "tool", "content": "B", "tool_name": "g"},
            {"role": "tool", "content": "A", "tool_name": "f"},
        ]
    },
    "/v1/chat/completions": {
        "messages": [
            {"role": "assistant", "tool_calls": _CALLS},
            {"role": "tool", "content": "B", "tool_call_id": "2"},
            {"role": "tool", "content": "A", "tool_call_id": "1"},
        ]
    },
    "/v1/responses": {
        "input": [
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "2", "name": "g", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "2", "output": "B"},
            {"type": "function_call_output", "call_id": "1", "output": "A"},
        ]
    },
    "/v1/messages": {
        "max_tokens": 5,
        "messages": [
            {"role": "assistant", "content": _USES},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "2", "content": "B"},
                    {"type": "tool_result", "tool_use_id": "1", "content": "A"},
                ],
            },
        ],
    },
}


@pytest.mark.parametrize("path", sorted(_BODIES))
@pytest.mark.parametrize("stream", [False, True])
async def test_every_dialect_sorts_results(start: Start, path: str, stream: bool) -> None:
    body = _BODIES[path]
    assert isinstance(body, dict)
    model = default_model()
    model.capabilities.tools = True
    async with start(StallingWorker(described=model, steps=[started(), content("a"), done()])) as frontend:
        answer = await frontend.client.post(path, json={"model": "m", "stream": stream, **body})
        assert answer.status_code == 200
        request = (await frontend.handle()).request

    results = [message for message in request.chat.messages if message.role == "tool"]
    assert [(message.content, message.tool_name) for message in results] == [("A", "f"), ("B", "g")]
