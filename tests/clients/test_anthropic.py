"""Anthropic's official client, synchronous and asynchronous."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import pytest
from anthropic import beta_async_tool, beta_tool
from pydantic import BaseModel

from tests.clients.both import collected, opened, settled
from tests.clients.fleet import (
    ANSWER,
    ANTHROPIC_WEATHER,
    BROKEN_QUESTION,
    FREED_SECONDS,
    HARD_QUESTION,
    IT_RAINS,
    LONG_QUESTION,
    QUESTION,
    RAIN,
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
# The client's newest version does not know it any more.
GREEDY = {"temperature": 0}
CALLED_PARIS = ("get_weather", {"city": "Paris"})


class City(BaseModel):
    city: str


def user_message(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, fleet: Fleet) -> AsyncIterator[anthropic.AsyncAnthropic]:
    kind = anthropic.AsyncAnthropic if request.param == "async" else anthropic.Anthropic
    made = kind(base_url=fleet.url, api_key="any", timeout=_TIMEOUT_SECONDS, max_retries=0)
    async with opened(made) as client:
        yield client


async def test_a_message(client: anthropic.AsyncAnthropic) -> None:
    answer = await settled(
        client.messages.create(model=SMOL, max_tokens=24, extra_body=GREEDY, messages=user_message(QUESTION))
    )

    assert [block.text for block in answer.content] == [ANSWER]
    assert (answer.role, answer.stop_reason, answer.stop_sequence) == ("assistant", "end_turn", None)
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > 10
    assert answer.usage.output_tokens > 5


async def test_raw_events(client: anthropic.AsyncAnthropic) -> None:
    stream = await settled(
        client.messages.create(
            model=SMOL, max_tokens=24, extra_body=GREEDY, messages=user_message(QUESTION), stream=True
        )
    )
    events = await collected(stream)

    kinds = [event.type for event in events]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert "".join(event.delta.text for event in events[2:-3]) == ANSWER


async def test_the_streaming_helper(client: anthropic.AsyncAnthropic) -> None:
    manager = client.messages.stream(
        model=SMOL, max_tokens=24, extra_body=GREEDY, messages=user_message(QUESTION)
    )
    async with opened(manager) as stream:
        texts = await collected(stream.text_stream)
        final = await settled(stream.get_final_message())

    assert "".join(texts) == final.content[0].text == ANSWER
    assert final.stop_reason == "end_turn"
    assert final.usage.input_tokens + final.usage.cache_read_input_tokens > 10


async def test_a_stop_sequence_is_reported(client: anthropic.AsyncAnthropic) -> None:
    answer = await settled(
        client.messages.create(
            model=SMOL,
            max_tokens=24,
            extra_body=GREEDY,
            messages=user_message(QUESTION),
            stop_sequences=["Paris", "Rome"],
        )
    )

    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", "Paris")
    assert answer.content[0].text == "The capital of France is "


async def test_the_stop_reason_at_max_tokens(client: anthropic.AsyncAnthropic) -> None:
    answer = await settled(
        client.messages.create(model=SMOL, max_tokens=2, extra_body=GREEDY, messages=user_message(QUESTION))
    )
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 2)


async def test_cached_tokens(client: anthropic.AsyncAnthropic) -> None:
    for _ in range(2):
        answer = await settled(
            client.messages.create(
                model=SMOL, max_tokens=2, extra_body=GREEDY, messages=user_message(QUESTION)
            )
        )
    assert answer.usage.cache_read_input_tokens > 0


async def test_an_assistant_s_last_message_is_continued(client: anthropic.AsyncAnthropic) -> None:
    turns = [*user_message(QUESTION), {"role": "assistant", "content": "The capital of France is"}]
    answer = await settled(
        client.messages.create(model=SMOL, max_tokens=8, extra_body=GREEDY, messages=turns)
    )
    assert answer.content[0].text.strip().startswith("Paris")


async def test_thinking(client: anthropic.AsyncAnthropic) -> None:
    answer = await settled(
        client.messages.create(
            model=THINKER,
            max_tokens=2048,
            messages=user_message(HARD_QUESTION),
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
    )

    thought, message = answer.content
    assert (thought.type, thought.thinking, message.text) == ("thinking", THOUGHTS, "It is 391.")
    assert thought.signature


async def test_thinking_streams(client: anthropic.AsyncAnthropic) -> None:
    manager = client.messages.stream(
        model=THINKER, max_tokens=2048, messages=user_message(HARD_QUESTION), thinking={"type": "adaptive"}
    )
    async with opened(manager) as stream:
        events = await collected(stream)
        final = await settled(stream.get_final_message())

    assert "".join(event.thinking for event in events if event.type == "thinking") == THOUGHTS
    assert [event.type for event in events].count("signature") == 1
    assert final.content[0].signature
    assert final.content[1].text == "It is 391."


async def test_thinking_is_ignored_by_a_model_without_it(client: anthropic.AsyncAnthropic) -> None:
    """See ollama-contract.md, "Anthropic: messages"."""
    answer = await settled(
        client.messages.create(
            model=SMOL,
            max_tokens=24,
            extra_body=GREEDY,
            messages=user_message(QUESTION),
            thinking={"type": "enabled", "budget_tokens": 1024},
        )
    )
    assert [block.type for block in answer.content] == ["text"]


async def test_a_tool_loop(client: anthropic.AsyncAnthropic) -> None:
    """The answer is sent back unchanged, with its thinking."""
    first = await settled(
        client.messages.create(
            model=THINKER, max_tokens=2048, messages=user_message(WEATHER_QUESTION), tools=[ANTHROPIC_WEATHER]
        )
    )
    thought, call = first.content
    assert (thought.type, call.name, call.input) == ("thinking", *CALLED_PARIS)
    assert first.stop_reason == "tool_use"

    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Rain."}]}
    turns = [
        *user_message(WEATHER_QUESTION),
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": [result, {"type": "text", "text": HARD_QUESTION}]},
    ]
    last = await settled(
        client.messages.create(model=THINKER, max_tokens=2048, messages=turns, tools=[ANTHROPIC_WEATHER])
    )
    assert (last.content[-1].text, last.stop_reason) == ("It is 391.", "end_turn")


async def test_tool_calls_stream(client: anthropic.AsyncAnthropic) -> None:
    manager = client.messages.stream(
        model=THINKER, max_tokens=2048, messages=user_message(TWO_QUESTION), tools=[ANTHROPIC_WEATHER]
    )
    async with opened(manager) as stream:
        events = await collected(stream)
        final = await settled(stream.get_final_message())

    pieces = "".join(event.partial_json for event in events if event.type == "input_json")
    assert pieces.replace(" ", "") == '{"city":"Paris"}{"city":"Rome"}'
    text, *calls = final.content
    assert text.text == "Let me look."
    assert [(call.name, call.input["city"]) for call in calls] == [
        ("get_weather", "Paris"),
        ("get_weather", "Rome"),
    ]
    assert final.stop_reason == "tool_use"


async def test_the_tool_runner(client: anthropic.AsyncAnthropic) -> None:
    """The client's own loop calls a Python function. It would rather send each turn alone, as a thread, and
    must send the whole conversation with the function's result: an answer to the result alone is invented.
    """
    cities = []

    def get_weather(city: str) -> str:
        """Tells the weather."""
        cities.append(city)
        return RAIN

    async def get_weather_later(city: str) -> str:
        """Tells the weather."""
        return get_weather(city)

    is_async = isinstance(client, anthropic.AsyncAnthropic)
    tool = beta_async_tool(get_weather_later, name="get_weather") if is_async else beta_tool(get_weather)
    runner = client.beta.messages.tool_runner(
        model=THINKER,
        max_tokens=2048,
        messages=user_message(WEATHER_QUESTION),
        tools=[tool],
        max_iterations=2,
    )
    first, second = await collected(runner)

    assert cities == ["Paris"]
    assert first.stop_reason == "tool_use"
    assert (second.stop_reason, second.content[-1].text) == ("end_turn", IT_RAINS)
    # The second prompt has all of the first one, and more.
    assert _prompt_tokens(second) > _prompt_tokens(first)


def _prompt_tokens(answer: anthropic.types.beta.BetaMessage) -> int:
    return int(answer.usage.input_tokens + answer.usage.cache_read_input_tokens)


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
async def test_threads_are_refused_with_the_details_that_clients_read(
    client: anthropic.AsyncAnthropic, thread: dict[str, str]
) -> None:
    with pytest.raises(anthropic.BadRequestError) as raised:
        await settled(
            client.beta.messages.create(
                model=THINKER, max_tokens=8, messages=user_message(QUESTION), extra_body={"thread": thread}
            )
        )
    code = "thread_not_found" if thread["type"] == "continue" else "thread_unsupported_request"
    assert raised.value.body["error"]["details"]["error_code"] == code


async def test_a_structured_output(client: anthropic.AsyncAnthropic) -> None:
    answer = await settled(
        client.messages.parse(
            model=SMOL, max_tokens=60, extra_body=GREEDY, messages=user_message(QUESTION), output_format=City
        )
    )
    assert isinstance(answer.parsed_output, City)


async def test_tokens_are_counted(client: anthropic.AsyncAnthropic) -> None:
    counted = await settled(client.messages.count_tokens(model=SMOL, messages=user_message(QUESTION)))
    answer = await settled(client.messages.create(model=SMOL, max_tokens=1, messages=user_message(QUESTION)))
    longer = await settled(
        client.messages.count_tokens(model=SMOL, messages=user_message(QUESTION), system="Be brief.")
    )

    assert counted.input_tokens == answer.usage.input_tokens + answer.usage.cache_read_input_tokens
    assert longer.input_tokens > counted.input_tokens


async def test_counted_tokens_include_tools_and_what_would_be_cut_off(
    client: anthropic.AsyncAnthropic,
) -> None:
    bare = await settled(client.messages.count_tokens(model=THINKER, messages=user_message("hi")))
    tools = await settled(
        client.messages.count_tokens(model=THINKER, messages=user_message("hi"), tools=[ANTHROPIC_WEATHER])
    )
    turns = [
        {"role": role, "content": "word " * 900}
        for role in ("user", "assistant", "user", "assistant", "user")
    ]
    long = await settled(client.messages.count_tokens(model=SMOL, messages=turns))

    assert tools.input_tokens > bare.input_tokens
    assert long.input_tokens > 2048


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ({"model": "missing"}, anthropic.NotFoundError, "model 'missing' not found"),
        ({"max_tokens": 0}, anthropic.BadRequestError, "max_tokens is required and must be positive"),
        ({"tools": [ANTHROPIC_WEATHER]}, anthropic.BadRequestError, "does not support tools"),
        (
            {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
            anthropic.PermissionDeniedError,
            "web search is unavailable",
        ),
        (
            {"messages": user_message("word " * 5000), "extra_body": {"truncate": False}},
            anthropic.BadRequestError,
            "prompt is too long: [0-9]+ tokens > 2048 maximum",
        ),
    ],
)
async def test_invalid_requests_raise_the_sdk_s_errors(
    client: anthropic.AsyncAnthropic,
    wrong: dict[str, object],
    kind: type[anthropic.APIStatusError],
    words: str,
) -> None:
    body = {"model": SMOL, "max_tokens": 8, "messages": user_message(QUESTION), **wrong}
    with pytest.raises(kind, match=words) as raised:
        await settled(client.messages.create(**body))
    assert raised.value.body["type"] == "error"
    assert raised.value.request_id == raised.value.body["request_id"]


async def test_an_error_in_a_stream_is_raised(client: anthropic.AsyncAnthropic) -> None:
    texts: list[str] = []
    with pytest.raises(anthropic.APIStatusError, match="the engine broke"):
        async with opened(
            client.messages.stream(model=THINKER, max_tokens=99, messages=user_message(BROKEN_QUESTION))
        ) as stream:
            texts += await collected(stream.text_stream)


async def test_a_disconnect_frees_the_slot(
    client: anthropic.AsyncAnthropic, thinker_engine: EngineClient
) -> None:
    manager = client.messages.stream(model=THINKER, max_tokens=50_000, messages=user_message(LONG_QUESTION))
    async with opened(manager) as stream:
        if isinstance(client, anthropic.AsyncAnthropic):
            await anext(aiter(stream))
        else:
            next(iter(stream))
        assert await thinker_engine.busy()
    assert await until(thinker_engine.idle, 5, "the slot is free again") < FREED_SECONDS
