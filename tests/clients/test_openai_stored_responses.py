"""Stored and background responses, compaction and token counts through OpenAI's official client, at two
frontends with one database: the synchronous one with a file of SQLite, the asynchronous one with PostgreSQL.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from tests.clients.both import collected, opened, settled
from tests.clients.fleet import ANSWER, HARD_QUESTION, LONG_QUESTION, QUESTION, SMOL, THINKER, Fleet
from tests.support.engine_client import EngineClient
from tests.support.processes import ROOT, frontend
from tests.support.waiting import until

_TIMEOUT_SECONDS = 60
_FREED_SECONDS = 3.0
_ENDED_SECONDS = 20.0
IT_IS = "It is 391."


@dataclass(frozen=True)
class Stored:
    """`urls`: of two frontends in front of the fleet's workers; `is_file`: their database is SQLite's."""

    urls: list[str]
    is_file: bool


@dataclass(frozen=True)
class Pair:
    """Clients of two frontends."""

    one: openai.AsyncOpenAI
    other: openai.AsyncOpenAI


@contextmanager
def _postgres() -> Iterator[str]:
    """Its URL. The environment of these tests has no PostgreSQL."""
    command = [os.environ["DROVER_TEST_PYTHON"], "-m", "tests.support.postgres_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.communicate()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def stored(
    request: pytest.FixtureRequest, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stored]:
    folder: Path = tmp_path_factory.mktemp("stored")
    workers = [fleet.smol.address, fleet.thinker.address]
    with ExitStack() as started:
        is_file = request.param == "sqlite"
        url = f"sqlite:///{folder / 'stored.sqlite3'}" if is_file else started.enter_context(_postgres())
        flags = ("--store-responses", "--database-url", url)
        urls = [
            f"http://{started.enter_context(frontend(folder / f'{name}.log', workers, *flags)).address}/v1"
            for name in ("one", "other")
        ]
        yield Stored(urls, is_file)


@pytest.fixture
async def pair(stored: Stored) -> AsyncIterator[Pair]:
    kind = openai.OpenAI if stored.is_file else openai.AsyncOpenAI
    one, other = (
        kind(base_url=url, api_key="mine", timeout=_TIMEOUT_SECONDS, max_retries=0) for url in stored.urls
    )
    async with opened(one) as first, opened(other) as second:
        yield Pair(first, second)


async def test_a_conversation_continues_by_its_id(pair: Pair) -> None:
    first = await settled(pair.one.responses.create(model=SMOL, input=QUESTION, temperature=0))
    assert first.output_text == ANSWER

    second = await settled(
        pair.other.responses.create(
            model=SMOL, input="And of Italy?", previous_response_id=first.id, temperature=0
        )
    )
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    assert second.usage.input_tokens_details.cached_tokens > 0

    items = await settled(pair.one.responses.input_items.list(second.id, order="asc"))
    assert [item.content[0].text for item in items.data] == [QUESTION, ANSWER, "And of Italy?"]
    assert (await settled(pair.other.responses.retrieve(first.id))).output_text == ANSWER


async def test_a_streamed_response_is_stored(pair: Pair) -> None:
    async with opened(pair.one.responses.stream(model=SMOL, input=QUESTION, temperature=0)) as stream:
        await collected(stream)
        final = await settled(stream.get_final_response())

    stored = await settled(pair.other.responses.retrieve(final.id))
    assert (stored.output_text, stored.status) == (ANSWER, "completed")


async def test_a_deleted_response_is_not_found(pair: Pair) -> None:
    sent = await settled(pair.one.responses.create(model=THINKER, input=HARD_QUESTION))
    await settled(pair.other.responses.delete(sent.id))

    with pytest.raises(openai.NotFoundError, match="not found"):
        await settled(pair.one.responses.retrieve(sent.id))
    with pytest.raises(openai.BadRequestError, match="not found"):
        await settled(
            pair.one.responses.create(model=THINKER, input=HARD_QUESTION, previous_response_id=sent.id)
        )


async def test_another_key_does_not_find_it(pair: Pair) -> None:
    sent = await settled(pair.one.responses.create(model=THINKER, input=HARD_QUESTION))

    with pytest.raises(openai.NotFoundError):
        await settled(pair.one.with_options(api_key="other").responses.retrieve(sent.id))


async def test_store_false_is_not_stored(pair: Pair) -> None:
    sent = await settled(pair.one.responses.create(model=THINKER, input=HARD_QUESTION, store=False))

    with pytest.raises(openai.NotFoundError):
        await settled(pair.one.responses.retrieve(sent.id))


async def test_a_background_response_is_polled(pair: Pair) -> None:
    sent = await settled(pair.one.responses.create(model=THINKER, input=HARD_QUESTION, background=True))
    assert sent.status == "queued"

    async def ended() -> bool:
        return bool((await settled(pair.other.responses.retrieve(sent.id))).status == "completed")

    await until(ended, _ENDED_SECONDS, "the response is complete")
    assert (await settled(pair.one.responses.retrieve(sent.id))).output_text == IT_IS


async def test_a_background_response_is_cancelled_through_another_frontend(
    pair: Pair, thinker_engine: EngineClient
) -> None:
    sent = await settled(pair.one.responses.create(model=THINKER, input=LONG_QUESTION, background=True))
    await until(thinker_engine.busy, _ENDED_SECONDS, "the response runs")

    cancelled = await settled(pair.other.responses.cancel(sent.id))

    assert cancelled.status == "cancelled"
    await until(thinker_engine.idle, _FREED_SECONDS, "the slot is free again")
    assert (await settled(pair.one.responses.retrieve(sent.id))).status == "cancelled"


async def test_a_background_stream_is_read_on_at_another_frontend(pair: Pair) -> None:
    stream = await settled(
        pair.one.responses.create(model=THINKER, input=HARD_QUESTION, background=True, stream=True)
    )
    events = await collected(stream)
    response = events[-1].response
    assert (events[-1].type, response.output_text) == ("response.completed", IT_IS)

    rest = await settled(pair.other.responses.retrieve(response.id, stream=True, starting_after=4))

    assert [event.sequence_number for event in await collected(rest)] == [
        event.sequence_number for event in events[5:]
    ]


async def test_a_conversation_is_compacted(pair: Pair) -> None:
    first = await settled(pair.one.responses.create(model=SMOL, input=QUESTION, temperature=0))
    compacted = await settled(
        pair.other.responses.compact(model=SMOL, previous_response_id=first.id, input="And of Italy?")
    )

    *kept, item = compacted.output
    assert [message.content[0].text for message in kept] == [QUESTION, "And of Italy?"]
    assert item.type == "compaction"
    assert json.loads(item.encrypted_content)["summary"]
    # The conversation's prefix is that of the first request.
    assert compacted.usage.input_tokens_details.cached_tokens > 10
    answer = await settled(pair.one.responses.create(model=SMOL, input=compacted.output, max_output_tokens=5))
    assert answer.usage.input_tokens > 10


async def test_a_triggered_compaction_streams(pair: Pair) -> None:
    conversation = [{"role": "user", "content": HARD_QUESTION}, {"type": "compaction_trigger"}]
    async with opened(pair.one.responses.stream(model=THINKER, input=conversation)) as stream:
        await collected(stream)
        final = await settled(stream.get_final_response())

    (item,) = final.output
    assert json.loads(item.encrypted_content)["summary"] == IT_IS


async def test_input_tokens_are_those_of_the_answer(pair: Pair) -> None:
    counted = await settled(pair.one.responses.input_tokens.count(model=SMOL, input=QUESTION))
    answer = await settled(pair.one.responses.create(model=SMOL, input=QUESTION, max_output_tokens=1))

    assert counted.object == "response.input_tokens"
    assert counted.input_tokens == answer.usage.input_tokens
