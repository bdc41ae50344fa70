"""Every option that SGLang can honour is honoured, and none is a 500 that the contract does not ask for
(ollama-contract.md, "Options"), through both tiers and the official client.
"""

from __future__ import annotations

import httpx
import ollama
import pytest

from tests.support.processes import Stack

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a long story about the sea."}]


def chat(smol: Stack, messages: list[dict[str, str]], **body: object) -> httpx.Response:
    return httpx.post(
        f"{smol.url}/api/chat",
        json={"model": "smol", "messages": messages, "stream": False, **body},
        timeout=120,
    )


@pytest.mark.parametrize(
    "options",
    [
        {"top_k": 0},
        {"top_k": -7},
        {"top_p": 0},
        {"top_p": 7},
        {"min_p": 2},
        {"min_p": -1},
        {"temperature": -1},
        {"temperature": 1e30},
        {"stop": []},
        {"stop": [""]},
        {"stop": ["", "Z" * 500]},
        {"stop": [f"never {number}" for number in range(40)]},
        {"repeat_penalty": 0},
        {"repeat_penalty": -1},
        {"repeat_penalty": 9},
        {"presence_penalty": 9},
        {"frequency_penalty": -9},
        {"repeat_last_n": 0, "repeat_penalty": 1.5},
        {"repeat_last_n": -1, "repeat_penalty": 1.5},
        {"typical_p": 0.3},
        {"seed": 42, "temperature": 1},
        {"seed": 0},
        {"seed": -1},
        {"num_ctx": 1},
        {"num_ctx": 10_000_000},
        {"num_keep": 99},
        {"num_batch": 1, "num_gpu": 99, "num_thread": 3, "use_mmap": True, "main_gpu": 0},
        {"mirostat": 2, "tfs_z": 0.5, "penalize_newline": True, "no such option": [1]},
    ],
    ids=str,
)
def test_every_option_value_is_accepted(smol: Stack, options: dict[str, object]) -> None:
    answer = chat(smol, QUESTION, options={"num_predict": 3, **options})
    assert answer.status_code == 200, answer.text
    assert answer.json()["eval_count"] >= 1


@pytest.mark.parametrize(("num_predict", "reason"), [(5, "length"), (1, "length")])
def test_num_predict_is_a_limit(smol: Stack, num_predict: int, reason: str) -> None:
    answer = chat(smol, STORY, options={"num_predict": num_predict, "temperature": 0}).json()
    assert (answer["eval_count"], answer["done_reason"]) == (num_predict, reason)


@pytest.mark.parametrize("num_predict", [-1, -2, 0, None])
def test_no_limit_generates_until_the_model_stops(smol: Stack, num_predict: int | None) -> None:
    answer = chat(smol, QUESTION, options={"num_predict": num_predict, "temperature": 0}).json()
    assert answer["done_reason"] == "stop"
    assert "Paris" in answer["message"]["content"]


def test_without_max_tokens_the_context_is_the_limit(smol: Stack) -> None:
    answer = chat(
        smol,
        [{"role": "user", "content": "word " * 1900}],
        options={"num_predict": -1, "temperature": 0, "stop": []},
    ).json()
    assert answer["prompt_eval_count"] + answer["eval_count"] <= 2048


def test_num_ctx_is_a_budget(smol: Stack) -> None:
    long = [{"role": "user", "content": f"This is message number {number}."} for number in range(80)]
    answer = chat(smol, long, options={"num_ctx": 128, "num_predict": 2})
    assert answer.json()["prompt_eval_count"] < 128
    assert int(answer.headers["x-drover-truncated-tokens"]) > 0


def test_a_prompt_longer_than_the_context_is_truncated_or_refused(smol: Stack) -> None:
    long = [{"role": "user", "content": "word " * 9000}]
    cut = chat(smol, long, options={"num_predict": 2})
    assert cut.status_code == 200
    assert cut.json()["prompt_eval_count"] < 2048
    refused = chat(smol, long, truncate=False)
    assert refused.status_code == 400
    assert "exceeds the available context size (2048 tokens)" in refused.json()["error"]


def test_without_shift_the_budget_ends_the_answer(smol: Stack) -> None:
    answer = chat(smol, STORY, shift=False, options={"num_ctx": 64, "temperature": 0}).json()
    assert answer["prompt_eval_count"] + answer["eval_count"] == 64
    assert answer["done_reason"] == "length"


def test_more_stop_texts_than_sglang_takes_are_all_honoured(smol: Stack) -> None:
    stops = [f"never {number}" for number in range(40)]
    answer = chat(smol, QUESTION, options={"temperature": 0, "stop": [*stops, " Par"]}).json()
    assert answer["message"]["content"] == "The capital of France is"
    assert answer["done_reason"] == "stop"


def test_what_cannot_be_honoured_is_named(smol: Stack) -> None:
    options = {"seed": 7, "typical_p": 0.5, "repeat_penalty": 1.2, "repeat_last_n": 32, "num_gpu": 1}
    answer = chat(smol, QUESTION, options={"num_predict": 2, "temperature": 1, **options})
    named = set(answer.headers["x-drover-not-honoured"].split(", "))
    assert named == {"seed", "typical_p", "repeat_last_n", "num_gpu"}
    assert '"not_honoured"' in smol.frontend.log_text()
    assert '"not_honoured"' in smol.worker.log_text()
    plain = chat(smol, QUESTION, options={"num_predict": 2, "temperature": 0, "seed": 7})
    assert "x-drover-not-honoured" not in plain.headers


def test_a_repeat_penalty_changes_the_answer(client: ollama.Client) -> None:
    plain = client.chat("smol", STORY, options={"temperature": 0, "num_predict": 40})
    other = client.chat("smol", STORY, options={"temperature": 0, "num_predict": 40, "repeat_penalty": 1.9})
    assert plain.message.content != other.message.content


def test_temperature_0_repeats(client: ollama.Client) -> None:
    first, second = (
        client.chat("smol", STORY, options={"temperature": 0, "num_predict": 20}).message.content
        for _ in "ab"
    )
    assert first == second


def test_a_models_generation_config_is_its_parameters(thinker_client: ollama.Client) -> None:
    shown = thinker_client.show("thinker")
    assert shown.parameters is not None
    assert {line.split()[0]: float(line.split()[1]) for line in shown.parameters.splitlines()} == {
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
    }
