"""Token ids, log probabilities and continuations of a llama.cpp model with a SentencePiece vocabulary.

Of plain answers, and of answers that llama.cpp's own parsers read, which take the space in front away.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.constraint import from_schema
from tests.schemas.llguidance_accepts import accepts
from tests.support.chat_requests import chat
from tests.support.engine_client import engine_client
from tests.support.processes import Stack, stack
from tests.support.scripted_gguf import THINKING_AND_TOOLS
from tests.support.sentencepiece_gguf import TEMPLATE, TEXT, answer_ids, write_sentencepiece_gguf

pytestmark = pytest.mark.real_model

_ROUND = 20


@pytest.fixture(scope="module", params=[TEMPLATE, THINKING_AND_TOOLS], ids=["plain", "parsed"])
def spm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sentencepiece")
    path = folder / "m.gguf"
    write_sentencepiece_gguf(path, request.param)
    flags = ("--engine", "llamacpp", "--context-length", "512", "--slots", "2", "--name", "spm")
    with stack(folder, (*flags, "--model", str(path))) as processes:
        yield processes


def _generate(spm: Stack, prompt: str, tokens: int, **body: object) -> dict[str, object]:
    options = {"num_predict": tokens, "temperature": 0}
    answer = httpx.post(
        f"{spm.url}/api/generate",
        json={"model": "spm", "prompt": prompt, "stream": False, "options": options, **body},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    result: dict[str, object] = answer.json()
    return result


def _text(spm: Stack, ids: object) -> str:
    answer = httpx.post(f"{spm.url}/api/detokenize", json={"model": "spm", "tokens": ids})
    return str(answer.json()["content"])


@pytest.mark.parametrize("tokens", [2, 5, 11, 2 * _ROUND])
async def test_the_ids_of_an_answer_are_those_that_the_model_said(spm: Stack, tokens: int) -> None:
    async with engine_client(spm.worker.address) as engine:
        events = [event async for event in engine.generate(chat("Tell me.", max_tokens=tokens))]
    ids = [token for event in events for delta in event.deltas for token in delta.token_ids]
    assert ids == answer_ids(tokens)


async def test_log_probabilities_have_all_bytes_of_the_text(spm: Stack) -> None:
    request = chat("Tell me.", max_tokens=_ROUND)
    request.top_logprobs = 1
    async with engine_client(spm.worker.address) as engine:
        events = [event async for event in engine.generate(request)]
    deltas = [delta for event in events for delta in event.deltas]
    logged = b"".join(logprob.token for delta in deltas for logprob in delta.logprobs)
    assert logged.decode() == f" {TEXT}"
    assert "".join(delta.content for delta in deltas).lstrip() == TEXT


def test_context_brings_a_conversation_back_as_it_was(spm: Stack) -> None:
    first = _generate(spm, "Tell me.", 5)
    assert str(first["response"]).lstrip() == "The café by"
    second = _generate(spm, "Go on.", 1, context=first["context"])
    assert second["context"][: len(first["context"])] == first["context"]  # type: ignore[index, arg-type]  # JSON values are objects
    assert "assistant\n The café by" in _text(spm, second["context"])


async def test_the_same_prompt_and_answer_are_found_in_the_prefix_cache(spm: Stack) -> None:
    first = _generate(spm, "Tell me a story that is cached.", 11)
    ids = first["context"]
    assert isinstance(ids, list)
    request = pb.GenerateRequest(tokens=pb.TokenIds(ids=ids), sampling=pb.Sampling(max_tokens=1))
    async with engine_client(spm.worker.address) as engine:
        _, done = await engine.text(request)
    # The last token of a prompt is always computed, and the last of an answer has not been.
    assert done.cached_tokens >= len(ids) - 2


SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "integer"},
        "b": {"enum": ["x", "é☃"]},
        "c": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        "d": {"type": "string", "maxLength": 4},
    },
    "required": ["a", "b", "c", "d"],
}
_SPACE_BETWEEN = 23


@pytest.mark.parametrize("seed", range(4))
def test_a_format_is_kept(spm: Stack, seed: int) -> None:
    text = _constrained(spm, SCHEMA, seed)

    assert accepts(from_schema(json.dumps(SCHEMA)).grammar, text), text
    assert json.loads(text).keys() == SCHEMA["properties"].keys()  # type: ignore[attr-defined]  # JSON values are objects
    assert max(map(len, re.findall(r"\s+", text)), default=0) <= _SPACE_BETWEEN


def test_any_json_is_an_object(spm: Stack) -> None:
    assert _constrained(spm, "json", seed=1).startswith("{")


def _constrained(spm: Stack, format_: object, seed: int) -> str:
    """Each token that the grammar admits is as likely as any other one."""
    body = {
        "model": "spm",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "format": format_,
        "options": {"seed": seed, "temperature": 1, "num_predict": 400},
        **({"think": False} if _thinks(spm) else {}),
    }
    answer = httpx.post(f"{spm.url}/api/chat", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert "x-drover-not-honoured" not in answer.headers
    return str(answer.json()["message"]["content"])


def _thinks(spm: Stack) -> bool:
    shown = httpx.post(f"{spm.url}/api/show", json={"model": "spm"}).json()
    return "thinking" in shown["capabilities"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "f"}}, None])
def test_a_forced_call_and_a_call_or_a_format(spm: Stack, choice: object) -> None:
    body = {
        "model": "spm",
        "messages": [{"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        "temperature": 1,
        "seed": 4,
        "max_tokens": 900,
    }
    if choice is None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    else:
        body["tool_choice"] = choice
    if _thinks(spm):
        body["reasoning_effort"] = "none"
    answer = httpx.post(f"{spm.url}/v1/chat/completions", json=body, timeout=60)
    if not _thinks(spm):
        assert answer.status_code == 400
        assert "does not support tools" in answer.text
        return
    assert answer.status_code == 200, answer.text
    message = answer.json()["choices"][0]["message"]
    calls = [call["function"]["arguments"] for call in message.get("tool_calls", [])]
    assert calls or choice is None
    for text in calls or [message["content"]]:
        assert accepts(from_schema(json.dumps(SCHEMA)).grammar, text), text


def test_a_schema_too_large_for_sentencepiece_is_refused(spm: Stack) -> None:
    wide = {"enum": [f"{chr(0x4E00 + number)}x" for number in range(400)]}
    answer = httpx.post(
        f"{spm.url}/api/chat",
        json={"model": "spm", "messages": [{"role": "user", "content": "Hi"}], "format": wide},
    )
    assert (answer.status_code, "too large" in answer.text) == (400, True)
