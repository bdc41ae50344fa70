"""`tool_choice` of Messages and Responses, through llama.cpp's grammar and a GGUF that calls functions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.support.sse import events_of

_NAMES = ("get_weather", "get_news")
_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris"]}},
    "required": ["city"],
}
Called = Sequence[tuple[str, object]]
STREAMED = pytest.mark.parametrize("stream", [True, False])


def _messages(http: httpx.Client, stream: bool, **more: object) -> tuple[Called, str]:
    """The calls, and why the answer ended."""
    body = {
        "max_tokens": 200,
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": name, "input_schema": _PARAMETERS} for name in _NAMES],
    }
    answer = _answer(http, "/v1/messages", {**body, "stream": stream, **more})
    if not stream:
        message = answer.json()
        calls = [(each["name"], each["input"]) for each in message["content"] if each["type"] == "tool_use"]
        return calls, message["stop_reason"]
    blocks: dict[int, str] = {}
    arguments: dict[int, str] = {}
    reason = ""
    for name, data in events_of(answer.text):
        if name == "content_block_start" and data["content_block"]["type"] == "tool_use":
            blocks[data["index"]] = data["content_block"]["name"]
        elif name == "content_block_delta" and data["delta"]["type"] == "input_json_delta":
            arguments[data["index"]] = arguments.get(data["index"], "") + data["delta"]["partial_json"]
        elif name == "message_delta":
            reason = data["delta"]["stop_reason"]
    return [(blocks[index], json.loads(arguments[index])) for index in blocks], reason


def _responses(http: httpx.Client, stream: bool, **more: object) -> Called:
    tools = [{"type": "function", "name": name, "parameters": _PARAMETERS} for name in _NAMES]
    body = {"input": "Hi", "max_output_tokens": 200, "tools": tools, "stream": stream, **more}
    answer = _answer(http, "/v1/responses", body)
    response = events_of(answer.text)[-1][1]["response"] if stream else answer.json()
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    assert all(call["status"] == "completed" for call in calls)
    return [(call["name"], json.loads(call["arguments"])) for call in calls]


def _answer(http: httpx.Client, path: str, body: dict[str, Any]) -> httpx.Response:
    answer = http.post(path, json={"model": "gguf-thinker", "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return answer


@STREAMED
@pytest.mark.parametrize("name", _NAMES)
def test_a_named_function_is_called(http: httpx.Client, name: str, stream: bool) -> None:
    expected = [(name, {"city": "Paris"})]

    assert _messages(http, stream, tool_choice={"type": "tool", "name": name}) == (expected, "tool_use")
    assert _responses(http, stream, tool_choice={"type": "function", "name": name}) == expected


@STREAMED
def test_one_function_must_be_called(http: httpx.Client, stream: bool) -> None:
    one = {"type": "any", "disable_parallel_tool_use": True}
    (((name, arguments),), reason) = _messages(http, stream, tool_choice=one)
    assert (name in _NAMES, arguments, reason) == (True, {"city": "Paris"}, "tool_use")

    ((name, arguments),) = _responses(http, stream, tool_choice="required", parallel_tool_calls=False)
    assert (name in _NAMES, arguments) == (True, {"city": "Paris"})


@STREAMED
def test_only_an_allowed_function_is_called(http: httpx.Client, stream: bool) -> None:
    news = [{"type": "function", "name": "get_news"}]
    choice = {"type": "allowed_tools", "mode": "required", "tools": news}

    calls = _responses(http, stream, tool_choice=choice, parallel_tool_calls=False)

    assert calls == [("get_news", {"city": "Paris"})]


@STREAMED
def test_no_function_may_be_called(http: httpx.Client, stream: bool) -> None:
    assert _messages(http, stream)[0] != []
    assert _messages(http, stream, tool_choice={"type": "none"})[0] == []
    assert _responses(http, stream) != []
    assert _responses(http, stream, tool_choice="none") == []


_PATCH = {
    "type": "custom",
    "name": "patch",
    "description": "Edits files.",
    "format": {
        "type": "grammar",
        "syntax": "lark",
        "definition": 'start: "*" LINE~2\nLINE: /[ab"]{2}/ LF\n%import common.LF',
    },
}


@STREAMED
@pytest.mark.parametrize("choice", ["auto", {"type": "custom", "name": "patch", "namespace": "files"}])
def test_a_custom_tool_is_called_with_text_that_matches_its_grammar(
    http: httpx.Client, stream: bool, choice: object
) -> None:
    tools = [{"type": "namespace", "name": "files", "tools": [_PATCH]}]
    body = {"input": "Hi", "max_output_tokens": 300, "tools": tools, "tool_choice": choice}
    answer = _answer(http, "/v1/responses", {**body, "stream": stream, "parallel_tool_calls": False})

    assert "tools.format" not in answer.headers.get("x-drover-not-honoured", "")
    events = events_of(answer.text) if stream else []
    response = events[-1][1]["response"] if stream else answer.json()
    (call,) = (item for item in response["output"] if item["type"] == "custom_tool_call")
    assert (call["namespace"], call["name"], call["status"]) == ("files", "patch", "completed")
    assert re.fullmatch(r'\*([ab"]{2}\n){2}', call["input"])
    if stream:
        pieces = [data["delta"] for name, data in events if name == "response.custom_tool_call_input.delta"]
        assert "".join(pieces) == call["input"]


@pytest.mark.parametrize("most", [2, 8, 14])
def test_a_forced_call_that_is_cut_off_is_no_text(http: httpx.Client, most: int) -> None:
    body = {
        "max_tokens": most,
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"name": name, "input_schema": _PARAMETERS} for name in _NAMES],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "disabled"},
    }
    message = _answer(http, "/v1/messages", body).json()
    assert [block for block in message["content"] or () if block["type"] == "text"] == []
    tools = [{"type": "function", "name": name, "parameters": _PARAMETERS} for name in _NAMES]
    asked = {"input": "Hi", "max_output_tokens": max(16, most), "tools": tools, "tool_choice": "required"}
    response = _answer(http, "/v1/responses", {**asked, "reasoning": {"effort": "none"}}).json()
    texts = [item for item in response["output"] if item["type"] == "message"]
    assert not [part["text"] for item in texts for part in item["content"] if part["text"]]
