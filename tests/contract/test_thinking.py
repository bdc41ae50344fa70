"""Thinking.

| line | asserted by |
|---|---|
| a model without, `think` true, a level or false (chat) | transcripts "chat think true on a model without", "chat think level", "chat think false" |
| values that are none (chat) | transcripts "chat think foo", "chat think 1", "chat think list" |
| generate, true | transcript "generate think true" |

Not here: gpt-oss (a matter of its template; no model here).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import json

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    answered,
    ask,
    assert_refused,
    chat_message,
    inference,
    lines_of,
    text_of,
)

_CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris"]}},
    "required": ["city"],
}
_MARKUP = ("<think>", "</think>", "<tool_call>", "<|im_")


def _thinking(answer: dict[str, object]) -> object:
    part = answer.get("message", answer)
    assert isinstance(part, dict)
    return part.get("thinking", "no key")


def _greedy(tokens: int) -> dict[str, object]:
    return {"temperature": 0, "num_predict": tokens}


@pytest.mark.parametrize(
    "think", [..., None, True, "low", "medium", "high", "max", "foo", "HIGH"], ids="think {!r}".format
)
@pytest.mark.parametrize("path", INFERENCE)
def test_a_model_that_can_thinks(http: httpx.Client, path: str, think: object) -> None:
    body = inference(path, "Hi", "gguf-thinker", think=think, options=_greedy(3))
    assert _thinking(answered(ask(http, path, body))) == "I think"


def test_show_has_the_values(http: httpx.Client) -> None:
    shown = answered(ask(http, "show", {"model": "gguf-thinker"}))
    assert shown["thinking"] == {"values": [False, True], "default": True}
    assert shown["template_source"] == "gguf_chat_template"
    assert "thinking" not in answered(ask(http, "show", {"model": "smol"}))


@pytest.mark.parametrize("think", ["foo", "HIGH"])
def test_a_name_that_the_model_does_not_have_is_named(http: httpx.Client, think: str) -> None:
    answer = ask(http, "chat", inference("chat", "Hi", "gguf-thinker", think=think, options=_greedy(3)))
    assert answer.headers["x-drover-not-honoured"] == "think"


@pytest.mark.parametrize("stream", [True, False], ids=["think false, streamed", "think false, whole"])
@pytest.mark.parametrize("path", INFERENCE)
def test_it_does_not_when_switched_off(http: httpx.Client, path: str, stream: bool) -> None:
    body = inference(path, "Hi", "gguf-thinker", think=False, stream=stream, options=_greedy(20))
    answer = ask(http, path, body)
    lines = lines_of(answer) if stream else [answered(answer)]
    assert {_thinking(line) for line in lines} == {"no key"}
    assert "".join(text_of(line) for line in lines) == "Ok."


@pytest.mark.parametrize("think", [True, "low", "high", "max", "foo"], ids="lacks thinking, {!r}".format)
@pytest.mark.parametrize("name", ["smol", "SMOL:latest"])
@pytest.mark.parametrize("path", INFERENCE)
def test_a_model_that_cannot(http: httpx.Client, path: str, name: str, think: object) -> None:
    body = inference(path, model=name, think=think)
    assert_refused(ask(http, path, body), 400, f'"{name}" does not support thinking')


@pytest.mark.parametrize("think", [False, None], ids="lacks thinking, {!r}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_a_model_that_cannot_need_not(http: httpx.Client, path: str, think: object) -> None:
    answer = answered(ask(http, path, inference(path, think=think)))
    assert (text_of(answer), _thinking(answer)) == ("The capital of", "no key")


@pytest.mark.parametrize("think", ["", 1, [], {}], ids="refused {!r}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_what_think_cannot_be(http: httpx.Client, path: str, think: object) -> None:
    # Before the model is looked up.
    body = {"model": "nope", "think": think}
    assert_refused(ask(http, path, body), 400, "think must be a boolean or string")


@pytest.mark.parametrize("path", INFERENCE)
def test_reasoning_has_its_own_key(http: httpx.Client, path: str) -> None:
    whole = answered(ask(http, path, inference(path, "#think", "thinker", options={})))
    lines = lines_of(ask(http, path, inference(path, "#think", "thinker", options={}, stream=True)))

    assert (_thinking(whole), text_of(whole)) == ("Let me.", "Fine.")
    thoughts = [line for line in lines if _thinking(line) != "no key"]
    assert "".join(str(_thinking(line)) for line in thoughts) == "Let me."
    assert {text_of(line) for line in thoughts} == {""}
    assert "".join(text_of(line) for line in lines) == "Fine."


@pytest.mark.parametrize("stream", [True, False])
def test_no_markup_leaks(http: httpx.Client, stream: bool) -> None:
    function = {"name": "get_weather", "parameters": _CITY}
    body = inference("chat", "Hi", "gguf-thinker", stream=stream, options=_greedy(100))
    answer = ask(http, "chat", {**body, "tools": [{"type": "function", "function": function}]})

    lines = lines_of(answer) if stream else [answered(answer)]
    assert [len(line["message"].get("tool_calls", [])) for line in lines].count(1) == 1
    shown = "".join(text_of(line) + str(_thinking(line)) for line in lines)
    assert "I think" in shown
    assert not any(markup in shown for markup in _MARKUP)


def test_format_holds_after_the_reasoning(http: httpx.Client) -> None:
    body = {"model": "gguf-thinker", "messages": chat_message("Hi"), "format": _CITY, "stream": False}
    answer = answered(ask(http, "chat", {**body, "options": _greedy(60)}))
    assert _thinking(answer) == "I think"
    assert json.loads(text_of(answer)) == {"city": "Paris"}


def test_format_holds_at_once_without_reasoning(http: httpx.Client) -> None:
    body = inference("generate", "Hi", "gguf-thinker", format=_CITY, think=False, options=_greedy(60))
    answer = answered(ask(http, "generate", body))
    assert (json.loads(text_of(answer)), _thinking(answer)) == ({"city": "Paris"}, "no key")
