"""Every method of the official Python client, synchronous and asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import TypeVar, cast

import ollama
import pytest

from tests.clients.fleet import (
    ANSWER,
    FREED_SECONDS,
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
from tests.support.waiting import until

GREEDY = {"temperature": 0, "num_predict": 24}
_TIMEOUT_SECONDS = 60

Part = TypeVar("Part")


class _Awaited:
    """The synchronous client with the asynchronous client's interface, so that one test covers both."""

    def __init__(self, client: ollama.Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self._client, name)

        async def call(*args: object, **arguments: object) -> object:
            answer = method(*args, **arguments)
            return _parts(answer) if isinstance(answer, Iterator) else answer

        return call


async def _parts(stream: Iterator[Part]) -> AsyncIterator[Part]:
    try:
        for part in stream:
            yield part
    finally:
        cast("Generator[Part]", stream).close()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, fleet: Fleet) -> AsyncIterator[ollama.AsyncClient]:
    if request.param == "async":
        async with ollama.AsyncClient(host=fleet.url, timeout=_TIMEOUT_SECONDS) as asynchronous:
            yield asynchronous
    else:
        with ollama.Client(host=fleet.url, timeout=_TIMEOUT_SECONDS) as waiting:
            yield cast(ollama.AsyncClient, _Awaited(waiting))


async def collected(stream: AsyncIterator[Part]) -> list[Part]:
    return [part async for part in stream]


def user_message(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def get_weather(city: str) -> str:
    """Tells the weather.

    Args:
        city: Where.

    """
    return f"Rain in {city}."


async def test_chat(client: ollama.AsyncClient) -> None:
    answer = await client.chat(SMOL, user_message(QUESTION), options=GREEDY)
    assert (answer.message.content, answer.done_reason) == (ANSWER, "stop")


async def test_chat_streams(client: ollama.AsyncClient) -> None:
    chunks = await collected(await client.chat(SMOL, user_message(QUESTION), options=GREEDY, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks) == ANSWER
    assert [chunk.done for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_chat_with_a_python_function_as_tool(client: ollama.AsyncClient) -> None:
    answer = await client.chat(THINKER, user_message(WEATHER_QUESTION), tools=[get_weather])
    (call,) = answer.message.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    result = {"role": "tool", "tool_name": "get_weather", "content": get_weather("Paris")}
    follow_up: list[Mapping[str, object] | ollama.Message] = [
        *user_message(WEATHER_QUESTION),
        answer.message,
        result,
        *user_message(HARD_QUESTION),
    ]
    assert (await client.chat(THINKER, follow_up, tools=[get_weather])).message.content == "It is 391."


async def test_chat_streams_a_tool_call(client: ollama.AsyncClient) -> None:
    chunks = await collected(
        await client.chat(THINKER, user_message(WEATHER_QUESTION), tools=[get_weather], stream=True)
    )
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == [{"city": "Paris"}]


@pytest.mark.parametrize("think", [True, "high", "deepest"])
async def test_chat_thinks(client: ollama.AsyncClient, think: bool | str) -> None:
    answer = await client.chat(THINKER, user_message(HARD_QUESTION), think=think)
    assert (answer.message.thinking, answer.message.content) == (THOUGHTS, "It is 391.")


async def test_chat_streams_thoughts(client: ollama.AsyncClient) -> None:
    chunks = await collected(await client.chat(THINKER, user_message(HARD_QUESTION), think=True, stream=True))
    assert "".join(chunk.message.thinking or "" for chunk in chunks) == THOUGHTS
    assert "".join(chunk.message.content or "" for chunk in chunks) == "It is 391."


async def test_generate(client: ollama.AsyncClient) -> None:
    answer = await client.generate(SMOL, QUESTION, options=GREEDY)
    assert answer.response == ANSWER
    assert answer.context


async def test_generate_streams(client: ollama.AsyncClient) -> None:
    chunks = await collected(await client.generate(SMOL, QUESTION, options=GREEDY, stream=True))
    assert "".join(chunk.response or "" for chunk in chunks) == ANSWER
    assert chunks[-1].context


async def test_generate_with_every_argument(client: ollama.AsyncClient) -> None:
    answer = await client.generate(
        SMOL,
        QUESTION,
        suffix="",
        system="Be brief.",
        context=[],
        raw=False,
        format={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        images=[],
        options=ollama.Options(temperature=0, num_predict=60),
        keep_alive="5m",
        think=False,
        logprobs=True,
        top_logprobs=2,
    )
    assert answer.response
    assert answer.response.startswith("{")
    assert answer.logprobs


async def test_load_and_unload(client: ollama.AsyncClient) -> None:
    assert (await client.generate(SMOL, keep_alive=-1)).done_reason == "load"
    assert (await client.chat(SMOL, [], keep_alive=0)).done_reason == "unload"


async def test_embed(client: ollama.AsyncClient) -> None:
    one = await client.embed(VECTORS, "a sheep")
    many = await client.embed(VECTORS, ["a sheep", "a wheel"], truncate=True, keep_alive="5m")
    assert [len(vector) for vector in many.embeddings] == [64, 64]
    assert many.embeddings[0] == one.embeddings[0]


async def test_embed_with_dimensions(client: ollama.AsyncClient) -> None:
    answer = await client.embed(VECTORS, "a sheep", dimensions=8, options={"num_ctx": 16})
    assert [len(vector) for vector in answer.embeddings] == [8]


async def test_embeddings(client: ollama.AsyncClient) -> None:
    assert len((await client.embeddings(VECTORS, "a sheep")).embedding) == 64


async def test_list(client: ollama.AsyncClient) -> None:
    models = {model.model: model for model in (await client.list()).models}
    assert {f"{name}:latest" for name in (SMOL, THINKER, VECTORS)} <= set(models)
    assert models[f"{SMOL}:latest"].modified_at is not None
    assert models[f"{SMOL}:latest"].size


async def test_ps(client: ollama.AsyncClient) -> None:
    await client.generate(SMOL)
    models = {model.name: model for model in (await client.ps()).models}
    assert models[f"{SMOL}:latest"].context_length == 2048
    assert models[f"{SMOL}:latest"].expires_at is not None


async def test_show(client: ollama.AsyncClient) -> None:
    shown = await client.show(SMOL)
    assert shown.modelinfo is not None
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.details is not None
    assert shown.details.parameter_size == "134.52M"
    assert shown.template


async def test_create(client: ollama.AsyncClient, new_name: str) -> None:
    answer = await client.create(
        new_name,
        from_=SMOL,
        system="Be a pirate.",
        parameters={"temperature": 0, "num_predict": 5, "stop": ["A"]},
        messages=[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Ahoy."}],
        license="Mine.",
    )
    assert answer.status == "success"
    shown = await client.show(new_name)
    assert "Be a pirate." in (shown.modelfile or "")
    assert "Mine." in (shown.license or "")
    assert (await client.chat(new_name, user_message(QUESTION))).eval_count == 5


async def test_create_streams(client: ollama.AsyncClient, new_name: str) -> None:
    lines = await collected(await client.create(new_name, from_=SMOL, template="{{ .Prompt }}", stream=True))
    assert lines[-1].status == "success"
    assert (await client.show(new_name)).template == "{{ .Prompt }}"


async def test_create_blob(client: ollama.AsyncClient, tmp_path: Path, new_name: str) -> None:
    file = tmp_path / "blob"
    file.write_text(new_name)
    digest = await client.create_blob(file)
    assert digest.startswith("sha256:")
    assert await client.create_blob(file) == digest


async def test_copy_and_delete(client: ollama.AsyncClient, new_name: str) -> None:
    assert (await client.copy(SMOL, new_name)).status == "success"
    assert (await client.chat(new_name, user_message(QUESTION), options=GREEDY)).message.content == ANSWER
    assert (await client.delete(new_name)).status == "success"
    with pytest.raises(ollama.ResponseError, match="not found"):
        await client.show(new_name)


async def test_pull(client: ollama.AsyncClient) -> None:
    assert (await client.pull(SMOL)).status == "success"


async def test_pull_streams(client: ollama.AsyncClient) -> None:
    assert (await collected(await client.pull(SMOL, insecure=True, stream=True)))[-1].status == "success"


async def test_pull_of_a_model_that_is_not_served(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist") as failed:
        await client.pull("nope")
    assert failed.value.status_code == 500
    with pytest.raises(ollama.ResponseError, match="pull model manifest: file does not exist"):
        await collected(await client.pull("nope", stream=True))


async def test_push_fails(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="push"):
        await client.push(SMOL)
    with pytest.raises(ollama.ResponseError, match="push"):
        await collected(await client.push(SMOL, stream=True))


@pytest.mark.parametrize(
    ("call", "status", "words"),
    [
        (lambda client: client.chat("nope", user_message("Hi")), 404, "model 'nope' not found"),
        (lambda client: client.generate("nope", "Hi"), 404, "model 'nope' not found"),
        (lambda client: client.embed("nope", "Hi"), 404, 'model "nope" not found, try pulling it first'),
        (lambda client: client.show("nope"), 404, "model 'nope:latest' not found"),
        (lambda client: client.copy("nope", "other"), 404, 'model "nope" not found'),
        (lambda client: client.delete("nope"), 404, "model 'nope' not found"),
        (lambda client: client.delete(SMOL), 400, SMOL),
        (lambda client: client.create(SMOL, from_=SMOL, system="x"), 400, SMOL),
        (lambda client: client.create("a b", from_=SMOL), 400, "invalid model name"),
        (lambda client: client.create("other"), 400, "neither 'from' or 'files' was specified"),
        (lambda client: client.pull("a b"), 400, "invalid model name"),
        (lambda client: client.chat(SMOL, user_message("Hi"), think=True), 400, "does not support thinking"),
        (
            lambda client: client.chat(SMOL, user_message("Hi"), tools=[get_weather]),
            400,
            "does not support tools",
        ),
        (lambda client: client.chat(VECTORS, user_message("Hi")), 400, "does not support chat"),
    ],
)
async def test_errors(
    client: ollama.AsyncClient,
    call: Callable[[ollama.AsyncClient], Awaitable[object]],
    status: int,
    words: str,
) -> None:
    with pytest.raises(ollama.ResponseError, match=words) as refused:
        await call(client)
    assert refused.value.status_code == status


async def test_an_error_before_a_stream_begins(client: ollama.AsyncClient) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refused:
        await collected(await client.chat("nope", user_message("Hi"), stream=True))
    assert refused.value.status_code == 404


@pytest.mark.parametrize("method", ["chat", "generate"])
async def test_closing_a_stream_frees_the_slot(
    client: ollama.AsyncClient, thinker_engine: EngineClient, method: str
) -> None:
    if method == "chat":
        chat = await client.chat(THINKER, user_message(LONG_QUESTION), stream=True)
        stream = cast(AsyncGenerator[object], chat)
    else:
        stream = cast(AsyncGenerator[object], await client.generate(THINKER, LONG_QUESTION, stream=True))
    await anext(stream)
    assert await thinker_engine.busy()
    await stream.aclose()
    assert await until(thinker_engine.idle, 5, "the slot is free again") < FREED_SECONDS


async def test_closing_a_stream_frees_a_slot_of_the_real_model(
    client: ollama.AsyncClient, smol_engine: EngineClient
) -> None:
    chat = await client.chat(
        SMOL, user_message("Tell me a very long story."), options={"seed": 1}, stream=True
    )
    stream = cast(AsyncGenerator[object], chat)
    await anext(stream)
    assert await smol_engine.busy()
    await stream.aclose()
    assert await until(smol_engine.idle, 5, "the slot is free again") < FREED_SECONDS


async def test_cancelling_a_request_frees_the_slot(fleet: Fleet, thinker_engine: EngineClient) -> None:
    async with ollama.AsyncClient(host=fleet.url) as client:
        asking = asyncio.create_task(client.chat(THINKER, user_message(LONG_QUESTION)))
        await until(thinker_engine.busy, 5, "the request runs")
        asking.cancel()
        assert await until(thinker_engine.idle, 5, "the slot is free again") < FREED_SECONDS
