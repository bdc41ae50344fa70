"""The Responses API through OpenAI's official client, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from pydantic import BaseModel

from tests.clients.both import collected, opened, settled
from tests.clients.fleet import (
    ANSWER,
    BROKEN_QUESTION,
    FREED_SECONDS,
    HARD_QUESTION,
    LONG_QUESTION,
    QUESTION,
    SMOL,
    THINKER,
    THOUGHTS,
    TWO_QUESTION,
    WEATHER_QUESTION,
    Fleet,
)
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

_TIMEOUT_SECONDS = 60
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": PARAMETERS,
    "strict": True,
}


class City(BaseModel):
    city: str


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, fleet: Fleet) -> AsyncIterator[openai.AsyncOpenAI]:
    kind = openai.AsyncOpenAI if request.param == "async" else openai.OpenAI
    made = kind(base_url=f"{fleet.url}/v1", api_key="any", timeout=_TIMEOUT_SECONDS, max_retries=0)
    async with opened(made) as client:
        yield client


async def test_a_response(client: openai.AsyncOpenAI) -> None:
    answer = await settled(client.responses.create(model=SMOL, input=QUESTION, temperature=0))

    assert (answer.output_text, answer.status, answer.error) == (ANSWER, "completed", None)
    assert answer.usage.input_tokens > 10
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


async def test_raw_events(client: openai.AsyncOpenAI) -> None:
    stream = await settled(client.responses.create(model=SMOL, input=QUESTION, temperature=0, stream=True))
    events = await collected(stream)

    kinds = [event.type.removeprefix("response.") for event in events]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert "".join(event.delta for event in events[4:-4]) == ANSWER
    assert [event.sequence_number for event in events] == list(range(len(events)))


async def test_the_streaming_helper(client: openai.AsyncOpenAI) -> None:
    async with opened(client.responses.stream(model=SMOL, input=QUESTION, temperature=0)) as stream:
        events = await collected(stream)
        final = await settled(stream.get_final_response())

    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(texts) == final.output_text == ANSWER


async def test_a_response_that_is_cut_off_is_incomplete(client: openai.AsyncOpenAI) -> None:
    answer = await settled(
        client.responses.create(model=SMOL, input=QUESTION, temperature=0, max_output_tokens=2)
    )
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.usage.output_tokens == 2


async def test_cached_tokens(client: openai.AsyncOpenAI) -> None:
    for _ in range(2):
        answer = await settled(client.responses.create(model=SMOL, input=QUESTION, max_output_tokens=2))
    assert answer.usage.input_tokens_details.cached_tokens > 0


async def test_reasoning(client: openai.AsyncOpenAI) -> None:
    answer = await settled(
        client.responses.create(
            model=THINKER, input=HARD_QUESTION, reasoning={"effort": "medium", "summary": "auto"}
        )
    )

    thought, message = answer.output
    assert (thought.type, thought.summary[0].text, message.content[0].text) == (
        "reasoning",
        THOUGHTS,
        "It is 391.",
    )
    assert answer.usage.output_tokens_details.reasoning_tokens > 0


async def test_reasoning_streams(client: openai.AsyncOpenAI) -> None:
    async with opened(client.responses.stream(model=THINKER, input=HARD_QUESTION)) as stream:
        events = await collected(stream)

    thoughts = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
    assert "".join(thoughts) == THOUGHTS


async def test_a_model_that_cannot_think_answers_without_reasoning(client: openai.AsyncOpenAI) -> None:
    """Codex asks for an effort wherever it knows the model's name."""
    answer = await settled(
        client.responses.with_raw_response.create(
            model=SMOL, input=QUESTION, temperature=0, reasoning={"effort": "high"}
        )
    )
    assert answer.headers["x-drover-not-honoured"] == "reasoning.effort"
    assert (await settled(answer.parse())).output_text == ANSWER


async def test_a_tool_loop(client: openai.AsyncOpenAI) -> None:
    """The answer's items are sent back unchanged, with its reasoning."""
    conversation: list[object] = [{"role": "user", "content": WEATHER_QUESTION}]
    first = await settled(client.responses.create(model=THINKER, input=conversation, tools=[WEATHER]))
    thought, call = first.output
    assert (thought.type, call.type, call.name) == ("reasoning", "function_call", "get_weather")

    conversation += first.output
    conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "Rain."})
    conversation.append({"role": "user", "content": HARD_QUESTION})
    last = await settled(client.responses.create(model=THINKER, input=conversation, tools=[WEATHER]))
    assert last.output_text == "It is 391."


async def test_function_calls_stream_next_to_text(client: openai.AsyncOpenAI) -> None:
    async with opened(client.responses.stream(model=THINKER, input=TWO_QUESTION, tools=[WEATHER])) as stream:
        events = await collected(stream)
        final = await settled(stream.get_final_response())

    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert "".join(pieces).replace(" ", "") == '{"city":"Paris"}{"city":"Rome"}'
    assert final.output_text == "Let me look."
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.parsed_arguments for call in calls] == [{"city": "Paris"}, {"city": "Rome"}]


async def test_a_structured_output(client: openai.AsyncOpenAI) -> None:
    answer = await settled(
        client.responses.parse(model=SMOL, input=QUESTION, temperature=0, text_format=City)
    )
    assert isinstance(answer.output_parsed, City)


async def test_a_structured_output_streams(client: openai.AsyncOpenAI) -> None:
    async with opened(
        client.responses.stream(model=SMOL, input=QUESTION, temperature=0, text_format=City)
    ) as stream:
        await collected(stream)
        final = await settled(stream.get_final_response())
    assert isinstance(final.output_parsed, City)


async def test_tools_that_are_not_run_here_are_named(client: openai.AsyncOpenAI) -> None:
    answer = await settled(
        client.responses.with_raw_response.create(
            model=THINKER, input=HARD_QUESTION, tools=[WEATHER, {"type": "web_search"}]
        )
    )
    # The model is free to call, and WEATHER's `strict` is kept only where it has to.
    assert answer.headers["x-drover-not-honoured"] == "tools.web_search, tools.strict"


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"model": "missing"}, openai.NotFoundError, "model 'missing' not found"),
        ({"tools": [WEATHER]}, openai.BadRequestError, "does not support tools"),
        ({"previous_response_id": "resp_1"}, openai.BadRequestError, "resp_1' not found"),
        (
            {"input": "word " * 5000, "truncation": "disabled"},
            openai.BadRequestError,
            "exceeds the available context size",
        ),
    ],
)
async def test_invalid_requests_raise_the_sdk_s_errors(
    client: openai.AsyncOpenAI, wrong: dict[str, object], kind: type[openai.APIStatusError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        await settled(client.responses.create(**{"model": SMOL, "input": QUESTION, **wrong}))


async def test_an_error_in_a_stream_is_reported(client: openai.AsyncOpenAI) -> None:
    stream = await settled(client.responses.create(model=THINKER, input=BROKEN_QUESTION, stream=True))
    events = await collected(stream)

    (failed,) = (event.response for event in events if event.type == "response.failed")
    assert events[-1].type == "response.failed"
    assert (failed.status, failed.error.message) == ("failed", "service unavailable: the engine broke")
    assert failed.output[0].content[0].text == "Well"
    assert failed.usage.total_tokens == failed.usage.input_tokens + failed.usage.output_tokens > 10


async def test_a_disconnect_frees_the_slot(client: openai.AsyncOpenAI, thinker_engine: EngineClient) -> None:
    async with opened(client.responses.stream(model=THINKER, input=LONG_QUESTION)) as stream:
        if isinstance(client, openai.AsyncOpenAI):
            await anext(aiter(stream))
        else:
            next(iter(stream))
        assert await thinker_engine.busy()
    assert await until(thinker_engine.idle, 5, "the slot is free again") < FREED_SECONDS
