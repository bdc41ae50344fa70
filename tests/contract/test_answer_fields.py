"""Keys of an answer, and log probabilities.

| line | asserted by |
|---|---|
| each key of chat and generate, its type and its place, durations above zero | transcripts "chat plain", "chat stream", "generate plain", "generate stream", … (compared as pairs in order) |
| done_reason stop, length, load, unload | transcripts "chat plain", "chat length", "chat load", "chat unload" |
| _debug_info | transcripts "chat debug render", "generate debug render" |
| tokens and their bytes, streamed and not | transcripts "chat logprobs", "chat logprobs stream", "generate logprobs" |
| num_predict 10 gives 10 | test_ollama_client::test_logprobs_fit_the_text |

Not here: remote_model and remote_host (of the cloud), generate's tool_calls in the last chunk only (of a parser that no template here has).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.contract.ollama_requests import (
    CHAT_END,
    GENERATE_END,
    INFERENCE,
    answered,
    ask,
    chat_message,
    inference,
    lines_of,
)

_ENDS = {"chat": CHAT_END, "generate": GENERATE_END}
_PARTS = {
    "chat": ["model", "created_at", "message", "done"],
    "generate": ["model", "created_at", "response", "done"],
}


@pytest.mark.parametrize("path", INFERENCE)
def test_keys_and_types(http: httpx.Client, path: str) -> None:
    whole = answered(ask(http, path, inference(path)))
    *others, last = lines_of(ask(http, path, inference(path, stream=True)))

    assert [list(line) for line in others] == [_PARTS[path]] * len(others)
    for end in (whole, last):
        assert list(end) == _ENDS[path]
        assert end["done"] is True
        assert (end["prompt_eval_count"], end["eval_count"]) == (16, 3)
        numbers = {key: end[key] for key in _ENDS[path] if key.endswith(("_duration", "_count"))}
        assert 0 <= numbers.pop("prompt_eval_cached_count") < 16
        assert all(type(number) is int and number > 0 for number in numbers.values())
        assert end["total_duration"] >= end["load_duration"]


@pytest.mark.parametrize("path", INFERENCE)
def test_thinking_stands_behind_the_text(http: httpx.Client, path: str) -> None:
    whole = answered(ask(http, path, inference(path, "#think", "thinker", options={})))
    if path == "chat":
        assert list(whole["message"]) == ["role", "content", "thinking"]
        assert list(whole) == CHAT_END
    else:
        at = GENERATE_END.index("response") + 1
        assert list(whole) == [*GENERATE_END[:at], "thinking", *GENERATE_END[at:]]


@pytest.mark.parametrize("path", INFERENCE)
def test_tool_calls_end_with_stop(http: httpx.Client, path: str) -> None:
    last = lines_of(ask(http, path, inference(path, "#calls", "thinker", options={}, stream=True)))[-1]
    assert (last["done"], last["done_reason"]) == (True, "stop")


def test_context_is_prompt_and_answer(http: httpx.Client) -> None:
    answer = answered(ask(http, "generate", inference("generate")))
    assert len(answer["context"]) == answer["prompt_eval_count"] + answer["eval_count"]
    assert all(type(token) is int for token in answer["context"])
    *others, last = lines_of(ask(http, "generate", inference("generate", stream=True)))
    assert last["context"] == answer["context"]
    assert not any("context" in line for line in others)


@pytest.mark.parametrize("path", INFERENCE)
def test_there_are_none_unless_asked_for(http: httpx.Client, path: str) -> None:
    whole = answered(ask(http, path, inference(path)))
    asked = answered(ask(http, path, inference(path, top_logprobs=3)))
    assert "logprobs" not in whole
    assert "logprobs" not in asked


@pytest.mark.parametrize("top", [0, 1, 5, 20], ids="top_logprobs {}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_one_for_each_token(http: httpx.Client, path: str, top: int) -> None:
    body = inference(path, logprobs=True, top_logprobs=top)
    whole = answered(ask(http, path, body))["logprobs"]
    lines = lines_of(ask(http, path, {**body, "stream": True}))

    assert [entry["token"] for entry in whole] == ["The", " capital", " of"]
    for entry in whole:
        _assert_logprob(entry)
        assert list(entry) == ["token", "logprob", "bytes", *(["top_logprobs"] if top else [])]
        others = entry.get("top_logprobs", [])
        assert len(others) == top
        for other in others:
            assert list(other) == ["token", "logprob", "bytes"]
            _assert_logprob(other)
        assert [other["logprob"] for other in others] == sorted((o["logprob"] for o in others), reverse=True)
    streamed = [entry for line in lines for entry in line.get("logprobs", [])]
    assert [entry["token"] for entry in streamed] == [entry["token"] for entry in whole]
    assert [len(line.get("logprobs", [])) for line in lines][:-1] == [1, 1, 1]


@pytest.mark.parametrize("stream", [True, False])
def test_tokens_of_thinking_and_of_held_back_text_have_theirs(http: httpx.Client, stream: bool) -> None:
    answer = ask(
        http, "chat", inference("chat", "#think", "thinker", logprobs=True, stream=stream, options={})
    )
    lines = lines_of(answer) if stream else [answered(answer)]
    tokens = "".join(entry["token"] for line in lines for entry in line.get("logprobs", []))
    assert tokens == "Let me.Fine."


def _assert_logprob(entry: dict[str, Any]) -> None:
    assert entry["token"]
    assert type(entry["logprob"]) is float
    assert entry["logprob"] <= 0
    assert bytes(entry["bytes"]).decode(errors="replace") == entry["token"]


_MANY = 400


@pytest.mark.parametrize("path", INFERENCE)
def test_cached_tokens_are_counted_and_take_no_time(http: httpx.Client, path: str) -> None:
    text = f"Count {path}: " + "one two three " * _MANY
    cold = answered(ask(http, path, inference(path, text)))
    warm = lines_of(ask(http, path, inference(path, text, stream=True)))[-1]

    assert cold["prompt_eval_count"] == warm["prompt_eval_count"] > 3 * _MANY
    assert cold["prompt_eval_cached_count"] < 64
    assert warm["prompt_eval_cached_count"] >= warm["prompt_eval_count"] - 4
    assert warm["prompt_eval_duration"] < cold["prompt_eval_duration"] / 4


def test_every_dialect_counts_the_same_cached_tokens(http: httpx.Client) -> None:
    messages = chat_message("Tell me of " + "apples and pears, " * 20)
    options = {"temperature": 0, "num_predict": 1}

    def post(path: str, body: dict[str, object]) -> dict[str, Any]:
        return answered(http.post(path, json={"model": "smol", "options": options, **body}))

    post("/api/chat", {"messages": messages, "stream": False})
    end = post("/api/chat", {"messages": messages, "stream": False})
    count, cached = end["prompt_eval_count"], end["prompt_eval_cached_count"]
    assert count > cached > 0

    limit = {"max_tokens": 1}
    chat = post("/v1/chat/completions", {"messages": messages, **limit})["usage"]
    response = post("/v1/responses", {"input": messages, "max_output_tokens": 1})["usage"]
    message = post("/v1/messages", {"messages": messages, **limit})["usage"]
    assert (chat["prompt_tokens"], chat["prompt_tokens_details"]["cached_tokens"]) == (count, cached)
    assert (response["input_tokens"], response["input_tokens_details"]["cached_tokens"]) == (count, cached)
    assert (message["input_tokens"], message["cache_read_input_tokens"]) == (count - cached, cached)
