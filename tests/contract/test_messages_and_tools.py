"""Messages and tools.

| line | asserted by |
|---|---|
| content: a list is 400, null is empty | transcripts "chat content list", "chat content null" |
| role: not validated | transcripts "chat role odd", "chat role missing" |
| images | test_request_fields |
| tool_calls: arguments as a string are 400 | transcript "chat args as string" |
| thinking, out | test_thinking |
| capability | transcript "chat tools on a model without" |

Not here: audio in `images` (no engine hears).
"""

from __future__ import annotations

import re

import httpx
import pytest

from tests.contract.fleet import ARGUMENTS
from tests.contract.ollama_requests import (
    answered,
    ask,
    assert_refused,
    chat_message,
    inference,
    lines_of,
    rendered,
)

_CALLING = [
    {"role": "user", "content": "question"},
    {
        "role": "assistant",
        "content": "",
        "thinking": "a reason",
        "tool_calls": [
            {
                "id": "call_1",
                "function": {"index": 0, "name": "f", "arguments": {"z": 1, "a": {"y": 2, "b": 3}}},
            }
        ],
    },
]


def _tool(parameters: object) -> list[dict[str, object]]:
    return [{"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}]


@pytest.mark.parametrize("role", ["USER", "System", "assistant", "tool", "developer", "Wizard"])
def test_role_is_lower_cased_and_passed_on(http: httpx.Client, role: str) -> None:
    body = {
        "model": "thinker",
        "messages": [*chat_message("first"), *chat_message("text", role), *chat_message("last")],
    }
    assert f"<|{role.lower()}|>\ntext\n" in rendered(http, "chat", body)


@pytest.mark.parametrize(
    "message",
    [{"role": "user"}, {"role": "user", "content": None}, {"role": "user", "content": ""}],
    ids=["content missing", "content null", "content empty"],
)
def test_content_may_be_left_out(http: httpx.Client, message: dict[str, object]) -> None:
    body = {"model": "thinker", "messages": [message]}
    assert rendered(http, "chat", body) == "<|user|>\n\n<|assistant|>\n"


@pytest.mark.parametrize(
    ("message", "kind", "go_type"),
    [
        ({"role": 1}, "number", "string"),
        ({"content": {}}, "object", "string"),
        ({"thinking": []}, "array", "string"),
        ({"tool_name": 1}, "number", "string"),
        ({"tool_call_id": 1}, "number", "string"),
        ({"tool_calls": {}}, "object", "[]api.ToolCall"),
        ({"images": "x"}, "string", "[]api.ImageData"),
    ],
    ids=lambda value: f"type of {next(iter(value))}" if isinstance(value, dict) else "",
)
def test_types_of_a_message(http: httpx.Client, message: dict[str, object], kind: str, go_type: str) -> None:
    assert_refused(
        ask(http, "chat", {"model": "smol", "messages": [message]}),
        400,
        f"json: cannot unmarshal {kind} into Go struct field ChatRequest.messages.{next(iter(message))} "
        f"of type {go_type}",
    )


def test_arguments_are_no_string(http: httpx.Client) -> None:
    message = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    assert_refused(
        ask(http, "chat", {"model": "smol", "messages": [message]}),
        400,
        "Value looks like object, but can't find closing '}' symbol",
    )


def test_thinking_and_tool_calls_go_in_with_the_order_of_their_keys(http: httpx.Client) -> None:
    result = {"role": "tool", "content": "42"}
    prompt = rendered(http, "chat", {"model": "gguf-thinker", "messages": [*_CALLING, result]})
    assert "<think>\na reason\n</think>" in prompt
    assert '{"name": "f", "arguments": {"z": 1, "a": {"y": 2, "b": 3}}}' in prompt


@pytest.mark.parametrize(
    "named", [{"tool_name": "f"}, {"tool_call_id": "call_1"}, {}], ids="result {}".format
)
def test_a_tools_result_may_say_whose_it_is(http: httpx.Client, named: dict[str, object]) -> None:
    messages = [*_CALLING, {"role": "tool", "content": "42", **named}]
    prompt = rendered(http, "chat", {"model": "gguf-thinker", "messages": messages})
    assert "<tool_response>\n42\n</tool_response>" in prompt


def test_role_and_content_are_always_in_the_answer(http: httpx.Client) -> None:
    for line in lines_of(ask(http, "chat", inference("chat", "#calls", "thinker", stream=True, options={}))):
        assert list(line["message"])[:2] == ["role", "content"]
        assert line["message"]["role"] == "assistant"


@pytest.mark.parametrize("stream", [False, True], ids=["tool_calls out, whole", "tool_calls out, streamed"])
def test_a_call_in_an_answer(http: httpx.Client, stream: bool) -> None:
    body = inference("chat", "#calls", "thinker", tools=_tool({}), stream=stream, options={})
    answer = ask(http, "chat", body)
    lines = lines_of(answer) if stream else [answered(answer)]
    calls = [call for line in lines for call in line["message"].get("tool_calls", [])]

    assert [list(call) for call in calls] == [["id", "function"]] * 2
    assert [list(call["function"]) for call in calls] == [["index", "name", "arguments"]] * 2
    assert [call["function"]["index"] for call in calls] == [0, 1]
    # The order of the arguments' keys is the model's.
    assert list(calls[0]["function"]["arguments"].items()) == list(ARGUMENTS.items())
    assert calls[1]["function"]["arguments"] == {}
    assert all(re.fullmatch("call_[a-z0-9]{8}", call["id"]) for call in calls)
    assert calls[0]["id"] != calls[1]["id"]


_STRING = {"type": "string"}


def _of(**schema: object) -> dict[str, object]:
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param(_of(type=["string", "null"], enum=["x"], description="d"), id="type, enum"),
        pytest.param(
            {"type": "object", "$defs": {"n": _STRING}, "items": {}, "required": ["a"], "properties": {}},
            id="$defs, items, required",
        ),
        pytest.param(_of(anyOf=[_STRING], items={}, required=[]), id="anyOf, items, required"),
        pytest.param(_of(**_STRING, format="uri", minimum=1, default=2), id="format, minimum, default"),
        pytest.param(
            {"type": "object", "additionalProperties": False, "oneOf": [{"type": "object"}]},
            id="additionalProperties, oneOf",
        ),
        pytest.param({}, id="empty"),
        pytest.param(None, id="null"),
    ],
)
@pytest.mark.parametrize("model", ["thinker", "gguf-thinker"])
def test_any_schema_may_be_offered(http: httpx.Client, model: str, parameters: object) -> None:
    body = inference("chat", "hello", model, tools=_tool(parameters))
    assert answered(ask(http, "chat", body))["message"]["role"] == "assistant"


@pytest.mark.parametrize(
    ("tools", "error"),
    [
        ({}, "object into Go struct field ChatRequest.tools of type api.Tools"),
        ([1], "number into Go value of type api.Tool"),
        (
            _tool({"type": ["object"]}),
            # The recording, with a newer Go: ToolFunctionParameters.type.
            "array into Go struct field ToolFunctionParameters.tools.function.parameters.type of type string",
        ),
    ],
    ids=["no list", "no object", "parameters.type must be a string"],
)
def test_types_of_tools(http: httpx.Client, tools: object, error: str) -> None:
    answer = ask(http, "chat", inference("chat", model="thinker", tools=tools))
    assert_refused(answer, 400, f"json: cannot unmarshal {error}")


def test_there_is_no_tool_choice(http: httpx.Client) -> None:
    body = inference("chat", "#calls", "thinker", tools=_tool({}), tool_choice="none", options={})
    assert len(answered(ask(http, "chat", body))["message"]["tool_calls"]) == 2
