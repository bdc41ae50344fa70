"""The official Python client with a llama.cpp model that thinks and calls functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import ollama
import pytest

from tests.support.processes import Stack, stack
from tests.support.scripted_gguf import EOS, THINKING_AND_TOOLS, write_scripted_gguf

pytestmark = pytest.mark.real_model
SCRIPTS = (
    ("Ċ", "<think>", "I", "Ġthink", "</think>", "<tool_call>", "Ċ", "{", '"'),
    ("Ġ}", "}", "</tool_call>", EOS),
    ("ĊĊ", "O", "k", ".", EOS),
)
MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris"]}},
            "required": ["city"],
        },
    },
}
GREEDY = {"temperature": 0, "num_predict": 100}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("thinker")
    write_scripted_gguf(folder / "thinker.gguf", THINKING_AND_TOOLS, *SCRIPTS)
    flags = ("--engine", "llamacpp", "--model", str(folder / "thinker.gguf"), "--slots", "2")
    with stack(folder, flags) as tiers:
        yield tiers


@pytest.fixture
def client(running: Stack) -> Iterator[ollama.Client]:
    with ollama.Client(host=running.url) as connected:
        yield connected


def test_show_lists_what_the_model_can(client: ollama.Client) -> None:
    capabilities = client.show("thinker").capabilities
    assert capabilities is not None
    assert {"tools", "thinking"} <= set(capabilities)


def test_a_conversation_with_a_tool(client: ollama.Client) -> None:
    answer = client.chat("thinker", MESSAGES, tools=[TOOL], options=GREEDY)
    message = answer.message
    assert (message.thinking, message.content, answer.done_reason) == ("I think", "", "stop")
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "content": "Rain.", "tool_name": "get_weather"}
    answer = client.chat("thinker", [*MESSAGES, message, result], tools=[TOOL], think=False, options=GREEDY)
    assert (answer.message.thinking, answer.message.content) == (None, "Ok.")


def test_a_streamed_call_is_whole_and_no_markup_is_shown(client: ollama.Client) -> None:
    chunks = list(client.chat("thinker", MESSAGES, tools=[TOOL], options=GREEDY, stream=True))
    assert "".join(chunk.message.thinking or "" for chunk in chunks) == "I think"
    assert not any(chunk.message.content for chunk in chunks)
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", {"city": "Paris"})
    ]


def test_call_ids_are_ollamas(running: Stack) -> None:
    body = {"model": "thinker", "messages": MESSAGES, "tools": [TOOL], "options": GREEDY, "stream": False}
    (call,) = httpx.post(f"{running.url}/api/chat", json=body).json()["message"]["tool_calls"]
    assert re.fullmatch(r"call_[a-z0-9]{8}", call["id"])


def test_a_stream_has_no_empty_line_before_its_end(running: Stack) -> None:
    """As recorded in "generate #think stream"."""
    body = {"model": "thinker", "prompt": "Hi", "options": {"temperature": 0, "num_predict": 3}}
    answer = httpx.post(f"{running.url}/api/generate", json=body)
    *others, before, last = [json.loads(line) for line in answer.text.splitlines()]
    assert before["thinking"].endswith(" think")
    assert (last["response"], last["done"]) == ("", True)
    assert not any(line["response"] for line in (*others, before))


def test_generate_thinks_and_its_context_continues(client: ollama.Client) -> None:
    first = client.generate("thinker", "Hi", options={"temperature": 0, "num_predict": 3})
    assert (first.thinking, first.response, first.done_reason) == ("I think", "", "length")
    second = client.generate("thinker", "Go on.", context=first.context, options=GREEDY)
    assert (second.thinking, second.response) == (None, "Ok.")
