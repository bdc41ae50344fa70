"""`tool_choice` of /v1/chat/completions, through llama.cpp's grammar and a GGUF that calls functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

_NAMES = ("get_weather", "get_news")


def _tool(name: str) -> dict[str, object]:
    city = {"type": "string", "enum": ["Paris"]}
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    return {"type": "function", "function": {"name": name, "description": "Tells.", "parameters": parameters}}


def _message(http: httpx.Client, **more: object) -> dict[str, Any]:
    body = {
        "model": "gguf-thinker",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [_tool(name) for name in _NAMES],
        "temperature": 0,
        "max_tokens": 200,
        **more,
    }
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    if not more.get("stream"):
        choice = answer.json()["choices"][0]
        assert (choice["finish_reason"] == "tool_calls") == ("tool_calls" in choice["message"])
        return dict(choice["message"])
    return _gathered(answer.text)


def _gathered(stream: str) -> dict[str, Any]:
    *frames, last = stream.removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    calls: dict[int, dict[str, Any]] = {}
    for frame in frames:
        delta = json.loads(frame.removeprefix("data: "))["choices"][0]["delta"]
        for piece in delta.get("tool_calls", ()):
            call = calls.setdefault(piece["index"], {"function": {"arguments": ""}})
            call["function"]["name"] = call["function"].get("name") or piece["function"].get("name")
            call["function"]["arguments"] += piece["function"]["arguments"]
    return {"tool_calls": list(calls.values())}


def _called(message: dict[str, Any]) -> Sequence[tuple[str, object]]:
    functions = [call["function"] for call in message.get("tool_calls", ())]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", _NAMES)
def test_a_named_function_is_called(http: httpx.Client, name: str, stream: bool) -> None:
    wanted = {"type": "function", "function": {"name": name}}

    assert _called(_message(http, tool_choice=wanted, stream=stream)) == [(name, {"city": "Paris"})]


def test_some_function_must_be_called(http: httpx.Client) -> None:
    message = _message(http, tool_choice="required", parallel_tool_calls=False)

    ((name, arguments),) = _called(message)
    assert name in _NAMES
    assert arguments == {"city": "Paris"}
    assert message["reasoning"]


def test_no_function_may_be_called(http: httpx.Client) -> None:
    assert _called(_message(http)) != []
    assert _called(_message(http, tool_choice="none")) == []


_SCHEMA = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "f", "schema": _SCHEMA}}


@pytest.mark.parametrize("most", [1, 3, 8, 12, 16])
def test_a_forced_call_that_is_cut_off_is_no_text(http: httpx.Client, most: int) -> None:
    message = _message(http, tool_choice="required", reasoning_effort="none", max_tokens=most)

    assert not message.get("content")


def test_a_format_next_to_tools_is_a_call_or_the_format(http: httpx.Client) -> None:
    message = _message(http, response_format=_FORMAT, parallel_tool_calls=False)

    assert bool(message.get("content")) != bool(_called(message))
    if message.get("content"):
        assert isinstance(json.loads(message["content"])["a"], bool)
    assert all(arguments == {"city": "Paris"} for _, arguments in _called(message))


def test_a_forced_call_comes_before_a_format(http: httpx.Client) -> None:
    message = _message(http, response_format=_FORMAT, tool_choice="required", parallel_tool_calls=False)

    ((_, arguments),) = _called(message)
    assert (arguments, message.get("content") or "") == ({"city": "Paris"}, "")
