"""The faults of SGLang's own Ollama endpoints, none of which Drover may have.

Those that need no model are in tests/system.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator

import httpx
import ollama
import pytest

from tests.support.browser import browser
from tests.support.engine_client import EngineClient
from tests.support.processes import Stack
from tests.support.waiting import until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0}


@pytest.fixture
def http(smol: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=smol.url, timeout=120) as connected:
        yield connected


def lines_of(answer: httpx.Response) -> list[dict[str, object]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def test_another_models_name_is_not_found(http: httpx.Client) -> None:
    answer = http.post("/api/chat", json={"model": "llama3", "messages": QUESTION})
    assert (answer.status_code, answer.json()) == (404, {"error": "model 'llama3' not found"})
    echoed = http.post(
        "/api/chat", json={"model": "SMOL:latest", "messages": QUESTION, "stream": False, "options": GREEDY}
    )
    assert echoed.json()["model"] == "SMOL:latest"


def test_errors_are_objects_with_a_text_also_when_streamed(http: httpx.Client) -> None:
    for stream in (True, False):
        body = {"model": "smol", "messages": QUESTION, "stream": stream, "truncate": False}
        answer = http.post("/api/chat", json={**body, "options": {"num_ctx": 8}})
        assert answer.status_code == 400
        assert set(answer.json()) == {"error"}
        assert isinstance(answer.json()["error"], str)


def test_load_and_unload_requests_are_answered_as_such(http: httpx.Client) -> None:
    loaded = http.post("/api/chat", json={"model": "smol", "messages": []}).json()
    unloaded = http.post("/api/generate", json={"model": "smol", "prompt": "", "keep_alive": 0}).json()
    assert (loaded["done_reason"], unloaded["done_reason"]) == ("load", "unload")


def test_a_message_needs_no_content(http: httpx.Client) -> None:
    messages = [
        *QUESTION,
        {"role": "assistant"},
        {"role": "tool", "tool_name": "f", "content": "22 C"},
        *QUESTION,
    ]
    answer = http.post(
        "/api/chat",
        json={"model": "smol", "messages": messages, "stream": False, "options": {"num_predict": 2}},
    )
    assert answer.status_code == 200


def test_thinking_is_asked_of_the_model(smol: Stack, thinker: Stack) -> None:
    refused = httpx.post(f"{smol.url}/api/generate", json={"model": "smol", "prompt": "x", "think": True})
    assert (refused.status_code, refused.json()["error"]) == (400, '"smol" does not support thinking')
    for think in ("high", True, False):
        body = {
            "model": "thinker",
            "prompt": "x",
            "think": think,
            "stream": False,
            "options": {"num_predict": 2},
        }
        assert httpx.post(f"{thinker.url}/api/generate", json=body, timeout=60).status_code == 200


def test_the_last_chunk_keeps_its_text(http: httpx.Client) -> None:
    for limit in (1, 2, 4):
        body = {"model": "smol", "messages": QUESTION, "options": {**GREEDY, "num_predict": limit}}
        streamed = lines_of(http.post("/api/chat", json=body))
        whole = http.post("/api/chat", json={**body, "stream": False}).json()
        text = "".join(str(line["message"]["content"]) for line in streamed)  # type: ignore[index]  # JSON values are objects
        assert text == whole["message"]["content"] != ""


def test_the_finish_reason_is_correct(http: httpx.Client) -> None:
    for limit, reason in ((2, "length"), (50, "stop")):
        body = {"model": "smol", "messages": QUESTION, "options": {**GREEDY, "num_predict": limit}}
        assert lines_of(http.post("/api/chat", json=body))[-1]["done_reason"] == reason


def test_counters_and_durations_come_with_both_forms(http: httpx.Client) -> None:
    for stream in (True, False):
        body = {"model": "smol", "messages": QUESTION, "stream": stream, "options": GREEDY}
        last = lines_of(http.post("/api/chat", json=body))[-1]
        for name in ("total", "load", "prompt_eval", "eval"):
            assert isinstance(last[f"{name}_duration"], int)
        assert (last["prompt_eval_count"], last["eval_count"]) == (16, 8)


def test_cached_tokens_are_counted_and_take_no_time(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Count: " + "one two three " * 400}]
    body = {"model": "smol", "messages": messages, "stream": False, "options": {**GREEDY, "num_predict": 1}}
    cold, warm = (http.post("/api/chat", json=body).json() for _ in range(2))

    assert cold["prompt_eval_count"] == warm["prompt_eval_count"] > 1200
    assert cold["prompt_eval_cached_count"] < 64
    assert warm["prompt_eval_cached_count"] >= warm["prompt_eval_count"] - 64
    assert warm["prompt_eval_duration"] < cold["prompt_eval_duration"] / 4


def test_show_names_the_template_and_the_parsers(http: httpx.Client, thinker: Stack) -> None:
    shown = http.post("/api/show", json={"model": "smol"}).json()
    thinks = httpx.post(f"{thinker.url}/api/show", json={"model": "thinker"}, timeout=60).json()

    assert shown["template_source"] == thinks["template_source"] == "gguf_chat_template"
    assert not {"thinking", "renderer", "parser"} & shown.keys()
    # Its template has efforts, whose names are not known.
    assert "thinking" not in thinks
    assert thinks["parser"]


def test_nothing_is_null_and_generate_gives_its_context(http: httpx.Client) -> None:
    body = {
        "model": "smol",
        "prompt": "What is the capital of France?",
        "options": {**GREEDY, "num_predict": 3},
    }
    answer = http.post("/api/generate", json=body)
    assert "null" not in answer.text
    assert lines_of(answer)[-1]["context"]


def test_times_have_nanoseconds(http: httpx.Client) -> None:
    body = {"model": "smol", "messages": QUESTION, "options": {"num_predict": 3}}
    stamps = [str(line["created_at"]) for line in lines_of(http.post("/api/chat", json=body))]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", stamp) for stamp in stamps)


def test_a_seed_is_no_error(http: httpx.Client) -> None:
    body = {"model": "smol", "messages": QUESTION, "options": {"seed": 42, "num_predict": 2}}
    for stream in (True, False):
        assert http.post("/api/chat", json={**body, "stream": stream}).status_code == 200


def test_unlimited_answers_are_no_error(client: ollama.Client) -> None:
    for unlimited in (-1, -2, 0):
        answer = client.chat("smol", QUESTION, options={**GREEDY, "num_predict": unlimited})
        assert answer.done_reason == "stop"


def test_the_options_that_are_not_sent_are_ollamas(http: httpx.Client, smol: Stack) -> None:
    """At Ollama's temperature of 0.8 an open question has more than one answer."""
    body = {
        "model": "smol",
        "messages": [{"role": "user", "content": "Invent a name for a sea monster."}],
        "stream": False,
        "options": {"num_predict": 16},
    }
    assert len({http.post("/api/chat", json=body).json()["message"]["content"] for _ in range(4)}) > 1


def test_a_long_history_is_truncated(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": f"number {number} " * 20} for number in range(100)]
    body = {"model": "smol", "messages": messages, "stream": False, "options": {"num_predict": 1}}
    answer = http.post("/api/chat", json=body)
    assert answer.status_code == 200
    assert 0 < answer.json()["prompt_eval_count"] < 2048


def test_model_details_are_correct_and_stable(client: ollama.Client) -> None:
    first, second = client.list().models[0], client.list().models[0]
    assert first == second
    assert re.fullmatch("[0-9a-f]{64}", first.digest or "")
    assert (first.size or 0) > 500_000_000
    assert first.details is not None
    assert (first.details.parameter_size, first.details.quantization_level) == ("134.52M", "F32")
    shown = client.show("smol")
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.block_count"] == 30
    assert shown.template
    assert client.ps().models[0].context_length == 2048


async def test_a_client_that_disconnects_frees_the_slot(smol: Stack, engine: EngineClient) -> None:
    for stream in (True, False):
        async with browser(smol) as leaving:
            await leaving.chat("smol", "Tell me a very long story.", stream)
            await until(engine.busy, 20, "it runs")
            leaving.leave()
            await until(engine.idle, 5, "the slot is free again")


async def test_concurrent_requests_all_get_their_response(smol: Stack) -> None:
    """More than run at the same time; each of them whole."""
    async with ollama.AsyncClient(host=smol.url, timeout=120) as client:
        answers = await asyncio.gather(*(client.chat("smol", QUESTION, options=GREEDY) for _ in range(40)))
    assert {answer.message.content for answer in answers} == {"The capital of France is Paris."}
