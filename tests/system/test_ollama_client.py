"""The official Python client against both tiers with the real model."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterator

import httpx
import ollama
import pytest

from tests.support.processes import Stack

pytestmark = pytest.mark.real_model

QUESTION = "What is the capital of France?"
MESSAGES = [{"role": "user", "content": QUESTION}]
GREEDY = {"temperature": 0, "num_predict": 24}


@pytest.fixture
def client(real: Stack) -> Iterator[ollama.Client]:
    with ollama.Client(host=real.url) as connected:
        yield connected


def test_chat_answers_paris(client: ollama.Client) -> None:
    answer = client.chat("smol", MESSAGES, options=GREEDY)
    assert answer.message.content == "The capital of France is Paris."
    assert answer.message.role == "assistant"
    assert (answer.model, answer.done, answer.done_reason) == ("smol", True, "stop")
    # The same counts as a real Ollama server's (transcript "chat plain").
    assert (answer.prompt_eval_count, answer.eval_count) == (16, 8)
    assert_measured(answer)


def test_chat_streams_the_same_text_token_by_token(client: ollama.Client) -> None:
    chunks = list(client.chat("smol", MESSAGES, options=GREEDY, stream=True))
    assert [chunk.message.content for chunk in chunks] == [
        "The", " capital", " of", " France", " is", " Paris", ".", "",
    ]  # fmt: skip
    assert [chunk.done for chunk in chunks] == [False] * 7 + [True]
    assert_measured(chunks[-1])


async def test_async_client_streams_and_not(real: Stack) -> None:
    async with ollama.AsyncClient(host=real.url) as client:
        whole = await client.chat("smol", MESSAGES, options=GREEDY)
        pieces = [
            piece.message.content or ""
            async for piece in await client.chat("smol", MESSAGES, options=GREEDY, stream=True)
        ]
    assert "".join(pieces) == whole.message.content


def test_generate_gives_a_context_that_continues(client: ollama.Client) -> None:
    first = client.generate("smol", QUESTION, options=GREEDY)
    assert first.response == "The capital of France is Paris."
    assert first.context is not None
    assert len(first.context) == 16 + 7
    second = client.generate("smol", "And of Italy?", context=first.context, options=GREEDY)
    assert second.prompt_eval_count is not None
    assert second.prompt_eval_count > 23
    assert second.context is not None
    assert list(second.context[:23]) == list(first.context)


def test_generate_streams_whole_text_and_ends_with_context(client: ollama.Client) -> None:
    chunks = list(client.generate("smol", QUESTION, options=GREEDY, stream=True))
    assert "".join(chunk.response or "" for chunk in chunks) == "The capital of France is Paris."
    assert [chunk.context is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert_measured(chunks[-1])


def test_raw_prompt_is_not_templated_and_has_no_context(client: ollama.Client) -> None:
    answer = client.generate(
        "smol", "The capital of France is", raw=True, options={"temperature": 0, "num_predict": 2}
    )
    assert answer.response == " Paris."
    assert (answer.prompt_eval_count, answer.context) == (5, None)


def test_system_reaches_the_model(client: ollama.Client) -> None:
    plain = client.generate("smol", QUESTION, options=GREEDY)
    with_system = client.generate("smol", QUESTION, system="Be a pirate.", options=GREEDY)
    assert with_system.prompt_eval_count == 25
    assert plain.prompt_eval_count == 16


def test_an_assistants_last_message_is_continued(client: ollama.Client) -> None:
    begun = [*MESSAGES, {"role": "assistant", "content": "The capital of"}]
    assert client.chat("smol", begun, options=GREEDY).message.content == " France is Paris."


@pytest.mark.parametrize("stream", [False, True])
def test_num_predict_ends_as_length(client: ollama.Client, stream: bool) -> None:
    options = {"temperature": 0, "num_predict": 3}
    if stream:
        chunks = list(client.chat("smol", MESSAGES, options=options, stream=True))
        text, last = "".join(chunk.message.content or "" for chunk in chunks), chunks[-1]
    else:
        last = client.chat("smol", MESSAGES, options=options)
        text = last.message.content or ""
    assert text == "The capital of"
    assert (last.done_reason, last.eval_count) == ("length", 3)


def test_stop_text_is_not_shown(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 40, "stop": ["capital of Spain", "Paris"]}
    chunks = list(client.chat("smol", MESSAGES, options=options, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == "The capital of France is "
    assert (chunks[-1].done_reason, chunks[-1].eval_count) == ("stop", 6)


def test_schema_constrains_the_answer(client: ollama.Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    answer = client.chat("smol", MESSAGES, format=schema, options={"temperature": 0, "num_predict": 60})
    assert json.loads(answer.message.content or "") == {"city": "Paris"}


def test_format_json_gives_an_object(client: ollama.Client) -> None:
    messages = [{"role": "user", "content": "Capital of France as JSON with key city."}]
    answer = client.chat("smol", messages, format="json", options={"temperature": 0, "num_predict": 60})
    assert (answer.message.content or "").startswith("{")


def test_logprobs_fit_the_text(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 10, "stop": ["#"]}
    messages = [{"role": "user", "content": "Tell me a long story."}]
    answer = client.chat("smol", messages, options=options, logprobs=True, top_logprobs=3)
    assert answer.logprobs is not None
    assert len(answer.logprobs) == 10
    assert "".join(entry.token for entry in answer.logprobs) == answer.message.content
    for entry in answer.logprobs:
        assert entry.logprob <= 0
        assert entry.top_logprobs is not None
        assert len(entry.top_logprobs) <= 3
        values = [other.logprob for other in entry.top_logprobs]
        assert values == sorted(values, reverse=True)
        assert math.isclose(max(values), values[0])


def test_no_logprobs_unless_asked(client: ollama.Client) -> None:
    assert client.chat("smol", MESSAGES, options=GREEDY).logprobs is None


def test_emoji_split_over_tokens_arrive_whole(client: ollama.Client) -> None:
    prompt = "😀😀😀😀 日本 😀 😀😀😀😀😀😀😀"
    options = {"temperature": 0, "num_predict": 9}
    chunks = list(client.generate("smol", prompt, raw=True, options=options, stream=True))
    text = "".join(chunk.response or "" for chunk in chunks)
    assert text == "😀😀😀"
    assert chunks[-1].eval_count == 9


def test_seed_repeats_a_sampled_answer(client: ollama.Client) -> None:
    options = {"temperature": 1.5, "seed": 7, "num_predict": 20}
    messages = [{"role": "user", "content": "Tell me a long story."}]
    answers = {client.chat("smol", messages, options=options).message.content for _ in range(3)}
    assert len(answers) == 1


def test_lists_and_shows(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert set(listed) == {"smol:latest", "Qwen/Qwen2.5-1.5B-Instruct:latest"}
    model = listed["smol:latest"]
    assert model.digest is not None
    assert len(model.digest) == 64
    assert model.details is not None
    assert (model.details.family, model.details.parameter_size, model.details.quantization_level) == (
        "llama",
        "134.52M",
        "Q4_1",
    )
    shown = client.show("smol")
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.parameter_count"] == 134515008
    assert shown.capabilities == ["completion", "decision"]
    assert shown.template
    running = client.ps().models
    assert {process.model for process in running} == set(listed)
    assert all(process.context_length == 2048 for process in running)


@pytest.mark.parametrize("name", ["smol", "smol:latest", "SMOL:Latest", "qwen/qwen2.5-1.5b-instruct"])
def test_names_match_in_any_case_and_are_echoed(client: ollama.Client, name: str) -> None:
    assert client.chat(name, MESSAGES, options={"num_predict": 1}).model == name


def test_load_and_unload(client: ollama.Client) -> None:
    loaded = client.generate("smol", keep_alive="5m")
    assert (loaded.response, loaded.done, loaded.done_reason) == ("", True, "load")
    unloaded = client.chat("smol", [], keep_alive=0)
    assert unloaded.done_reason == "unload"
    assert client.chat("smol", MESSAGES, options=GREEDY).message.content == "The capital of France is Paris."


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (lambda client: client.chat("nope", MESSAGES), 404, "model 'nope' not found"),
        (lambda client: client.generate("nope", "x"), 404, "model 'nope' not found"),
        (lambda client: client.show("nope"), 404, "model 'nope:latest' not found"),
        (lambda client: client.chat("a b", MESSAGES), 400, "invalid model name"),
        (lambda client: client.chat("smol", MESSAGES, think=True), 400, '"smol" does not support thinking'),
        (
            lambda client: client.generate("smol", "x", suffix="y"),
            400,
            "registry.ollama.ai/library/smol:latest does not support insert",
        ),
        (
            lambda client: client.chat("smol", MESSAGES, options={"num_ctx": "big"}),
            500,
            'option "num_ctx" must be of type integer',
        ),
        (
            lambda client: client.chat("smol", MESSAGES, top_logprobs=21, logprobs=True),
            400,
            "between 0 and 20",
        ),
        (lambda client: client.chat("smol", MESSAGES, format={"type": "nonsense"}), 400, "JSON schema"),
    ],
)
def test_errors_reach_the_client(
    client: ollama.Client, call: Callable[[ollama.Client], object], status: int, words: str
) -> None:
    with pytest.raises(ollama.ResponseError, match=words.replace("(", r"\(")) as caught:
        call(client)
    assert caught.value.status_code == status


def test_a_prompt_beyond_the_context_is_truncated_or_refused(real: Stack, client: ollama.Client) -> None:
    long = [{"role": "user", "content": "word " * 3000}]
    # As upstream cuts one message: half of what follows the four tokens that are kept.
    assert client.chat("smol", long, options={"num_predict": 1}).prompt_eval_count == 2048 - (2048 - 4) // 2
    # The Python client has no `truncate` for chat.
    refused = httpx.post(f"{real.url}/api/chat", json={"model": "smol", "messages": long, "truncate": False})
    assert refused.status_code == 400
    assert json.loads(refused.json()["error"])["error"]["n_ctx"] == 2048


async def test_concurrent_requests_all_get_correct_responses(real: Stack) -> None:
    """More chats than slots: continuous batching, and the queue behind it."""
    async with ollama.AsyncClient(host=real.url) as client:
        answers = await asyncio.gather(*(client.chat("smol", MESSAGES, options=GREEDY) for _ in range(12)))
    assert {answer.message.content for answer in answers} == {"The capital of France is Paris."}


def assert_measured(answer: ollama.ChatResponse | ollama.GenerateResponse) -> None:
    for value in (
        answer.total_duration,
        answer.load_duration,
        answer.prompt_eval_duration,
        answer.eval_duration,
        answer.prompt_eval_count,
        answer.eval_count,
    ):
        assert isinstance(value, int)
        assert value > 0
