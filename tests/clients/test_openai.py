"""The official openai SDK: chats, completions, tools, structured output, embeddings, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.clients.fleet import (
    ANSWER,
    BROKEN_QUESTION,
    HARD_QUESTION,
    LONG_QUESTION,
    QUESTION,
    SMOL,
    THINKER,
    THOUGHTS,
    VECTORS,
    WEATHER_QUESTION,
    Fleet,
)
from tests.support.engine_client import EngineClient
from tests.support.processes import ROOT
from tests.support.waiting import until

_ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
_WEATHER: list[ChatCompletionMessageParam] = [{"role": "user", "content": WEATHER_QUESTION}]
_TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Capital(BaseModel):
    city: str


@pytest.fixture
def client(fleet: Fleet) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def async_client(fleet: Fleet) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{fleet.url}/v1", api_key="none", max_retries=0, timeout=60)


def test_a_chat(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=SMOL, messages=_ASKED, temperature=0)

    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (ANSWER, "stop")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (16, 8)
    assert answer.usage.prompt_tokens_details is not None


async def test_an_async_chat(async_client: AsyncOpenAI) -> None:
    answer = await async_client.chat.completions.create(
        model=SMOL, messages=_ASKED, temperature=0, max_completion_tokens=3
    )

    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        "The capital of",
        "length",
    )


def test_a_stream_with_usage(client: OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=SMOL, messages=_ASKED, temperature=0, stream=True, stream_options={"include_usage": True}
        )
    )

    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == ANSWER
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 24
    assert chunks[-2].choices[0].finish_reason == "stop"


async def test_an_async_stream(async_client: AsyncOpenAI) -> None:
    stream = await async_client.chat.completions.create(
        model=SMOL, messages=_ASKED, temperature=0, stream=True
    )

    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == ANSWER


def test_the_streaming_helper(client: OpenAI) -> None:
    with client.chat.completions.stream(model=THINKER, messages=_WEATHER, tools=[_TOOL]) as stream:
        kinds = [event.type for event in stream]
        answer = stream.get_final_completion()

    assert "tool_calls.function.arguments.done" in kinds
    (call,) = answer.choices[0].message.tool_calls or []
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_the_async_streaming_helper(async_client: AsyncOpenAI) -> None:
    async with async_client.chat.completions.stream(model=SMOL, messages=_ASKED, temperature=0) as stream:
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_completion()

    assert kinds[-1] == "content.done"
    assert answer.choices[0].message.content == ANSWER


def test_structured_output(client: OpenAI) -> None:
    question = "What is the capital of France? Answer as JSON with the key city."
    answer = client.chat.completions.parse(
        model=SMOL,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        response_format=Capital,
    )

    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert "Paris" in parsed.city


def test_a_streamed_structured_output(client: OpenAI) -> None:
    question = "What is the capital of France? Answer as JSON with the key city."
    with client.chat.completions.stream(
        model=SMOL,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        response_format=Capital,
    ) as stream:
        answer = stream.get_final_completion()

    parsed = answer.choices[0].message.parsed
    assert parsed is not None
    assert "Paris" in parsed.city


def test_a_tool_loop(client: OpenAI) -> None:
    messages = list(_WEATHER)
    first = client.chat.completions.create(model=THINKER, messages=messages, tools=[_TOOL])
    message = first.choices[0].message
    (call,) = message.tool_calls or []
    assert call.type == "function"
    assert first.choices[0].finish_reason == "tool_calls"
    messages.append(message)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "Rain."})
    messages.append({"role": "user", "content": HARD_QUESTION})

    last = client.chat.completions.create(model=THINKER, messages=messages, tools=[_TOOL])

    assert last.choices[0].message.content == "It is 391."


def test_a_tool_choice_without_its_tool_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="not one of the request's tools"):
        client.chat.completions.create(
            model=THINKER,
            messages=_WEATHER,
            tools=[_TOOL],
            tool_choice={"type": "function", "function": {"name": "sing"}},
        )


def test_reasoning(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=THINKER, messages=[{"role": "user", "content": HARD_QUESTION}], reasoning_effort="low"
    )

    message = answer.choices[0].message
    assert (message.content, getattr(message, "reasoning", None)) == ("It is 391.", THOUGHTS)
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens


def test_several_choices(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SMOL, messages=_ASKED, n=3, seed=1, temperature=1.5, max_tokens=12
    )

    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 16


def test_several_choices_stream_concurrently(client: OpenAI) -> None:
    texts: dict[int, str] = {0: "", 1: ""}
    order = []
    for chunk in client.chat.completions.create(model=SMOL, messages=_ASKED, n=2, temperature=0, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order.append(choice.index)

    assert texts == {0: ANSWER, 1: ANSWER}
    assert order != sorted(order)


async def test_closing_a_stream_frees_the_slot(
    async_client: AsyncOpenAI, thinker_engine: EngineClient
) -> None:
    stream = await async_client.chat.completions.create(
        model=THINKER, messages=[{"role": "user", "content": LONG_QUESTION}], n=2, stream=True
    )
    await anext(aiter(stream))
    assert (await thinker_engine.load()).running == 2

    await stream.close()

    await until(thinker_engine.idle, 10, "both choices are cancelled")


def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SMOL, messages=_ASKED, temperature=0, logprobs=True, top_logprobs=2
    )

    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert "".join(entry.token for entry in logprobs.content or []) == ANSWER
    assert all(len(entry.top_logprobs) == 2 for entry in logprobs.content or [])


def test_a_bias_against_the_answer_s_first_token(client: OpenAI, fleet: Fleet) -> None:
    tokens = client.post("/tokenize", body={"model": SMOL, "prompt": "The"}, cast_to=dict[str, object])
    ids = tokens["tokens"]
    assert isinstance(ids, list)

    answer = client.chat.completions.create(
        model=SMOL, messages=_ASKED, temperature=0, max_tokens=8, logit_bias={str(ids[0]): -100}
    )

    assert not (answer.choices[0].message.content or "").startswith("The")


def test_completions_of_several_prompts(client: OpenAI) -> None:
    answer = client.completions.create(model=SMOL, prompt=[QUESTION, QUESTION], temperature=0)

    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, ANSWER), (1, ANSWER)]


async def test_a_streamed_completion(async_client: AsyncOpenAI) -> None:
    stream = await async_client.completions.create(model=SMOL, prompt=QUESTION, temperature=0, stream=True)

    assert "".join([chunk.choices[0].text async for chunk in stream]) == ANSWER


def test_a_prompt_of_token_ids(client: OpenAI) -> None:
    chat = {"model": SMOL, "messages": _ASKED}
    tokens = client.post("/tokenize", body=chat, cast_to=dict[str, list[int]])["tokens"]

    answer = client.completions.create(model=SMOL, prompt=tokens, temperature=0, max_tokens=7)

    assert answer.choices[0].text == ANSWER
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 16


def test_extensions(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=SMOL,
        messages=_ASKED,
        extra_body={
            "num_ctx": 64,
            "keep_alive": "10m",
            "options": {"temperature": 0, "num_predict": 2},
        },
    )

    assert answer.choices[0].message.content == "The capital"


def test_embeddings(client: OpenAI) -> None:
    """The SDK requests base64 and decodes it; plain floats are equal."""
    read = client.embeddings.create(model=VECTORS, input=["a sheep", "a wheel"])
    plain = client.embeddings.create(model=VECTORS, input=["a sheep", "a wheel"], encoding_format="float")

    assert [len(each.embedding) for each in read.data] == [64, 64]
    for one, other in zip(read.data, plain.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-6)


async def test_models(client: OpenAI, async_client: AsyncOpenAI) -> None:
    ids = {model.id for model in client.models.list()}
    assert {f"{SMOL}:latest", f"{THINKER}:latest", f"{VECTORS}:latest"} <= ids
    assert (await async_client.models.retrieve(SMOL)).id == SMOL
    with pytest.raises(openai.NotFoundError, match="model 'org/nope:latest' not found"):
        client.models.retrieve("org/nope")


def test_errors(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        client.chat.completions.create(model="nope", messages=_ASKED)
    with pytest.raises(openai.BadRequestError, match="does not support tools") as caught:
        client.chat.completions.create(model=SMOL, messages=_ASKED, tools=[_TOOL])
    assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError, match="supports audio"):
        client.audio.transcriptions.create(model=SMOL, file=("a.wav", b"RIFF"))


def test_an_error_in_a_stream_is_raised(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model=THINKER, messages=[{"role": "user", "content": BROKEN_QUESTION}], stream=True
    )

    assert next(stream).choices[0].delta.content == "Well"
    with pytest.raises(openai.APIError, match="the engine broke"):
        list(stream)


def test_the_example_in_the_docs(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    (code,) = re.findall(r"```python\n(from openai .*?)```", page, re.DOTALL)

    exec(code.replace("http://127.0.0.1:11434", fleet.url).replace("smollm2:135m", SMOL), {})

    assert capsys.readouterr().out.strip() == ANSWER
