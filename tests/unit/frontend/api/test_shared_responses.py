"""Stored and background responses of two frontends with one database, SQLite and PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from frontend.database.database import Database
from frontend.database.url import parse_url
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, content, started
from tests.support.postgres import postgres
from tests.support.sse import events_of
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.stored_responses import ANSWER, BODY, created, got, until_status

STALLED: list[Step] = [started(), content("1"), STALL]
STREAMED = {**BODY, "background": True, "stream": True}


@dataclass
class Pair:
    one: Frontend
    other: Frontend
    url: str


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    with postgres() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    server_url: str = request.getfixturevalue("server_url")
    return server_url


@pytest.fixture
async def pair(start: Start, url: str) -> AsyncIterator[Pair]:
    settings = {"store_responses": True, "shutdown_grace_seconds": 0, "database_url": url}
    async with (
        start(StallingWorker(steps=ANSWER), **settings) as one,
        start(StallingWorker(steps=ANSWER), **settings) as other,
    ):
        yield Pair(one, other, url)


async def test_a_conversation_continues_at_another_frontend(pair: Pair) -> None:
    first = await created(pair.one)
    second = await created(pair.other, input="Go on.", previous_response_id=first["id"])

    assert await got(pair.other, first["id"]) == first
    messages = pair.other.worker.handles[-1].request.chat.messages
    assert [message.content for message in messages] == ["Count to seven.", "1 2", "Go on."]
    assert (await pair.one.client.delete(f"/v1/responses/{second['id']}")).is_success
    assert (await pair.other.client.get(f"/v1/responses/{second['id']}")).status_code == 404


@pytest.mark.parametrize("name", ["\0", "\ud800", "resp_" + "0" * 24, "x" * 1000])
async def test_an_id_that_no_response_has_is_not_found(pair: Pair, name: str) -> None:
    body = {**BODY, "previous_response_id": name}
    answer = await pair.one.client.post("/v1/responses", content=json.dumps(body))
    assert answer.status_code == 400
    assert "not found" in answer.json()["error"]["message"]
    quoted = quote(name, errors="surrogatepass")
    assert (await pair.one.client.get(f"/v1/responses/{quoted}")).status_code == 404


async def test_a_background_response_is_polled_at_another_frontend(pair: Pair) -> None:
    sent = await created(pair.one, background=True)

    await until_status(pair.other, sent["id"], "completed")
    ended = await got(pair.other, sent["id"])
    assert ended["output"][0]["content"][0]["text"] == "1 2"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_another_frontend_cancels_it(pair: Pair, method: str) -> None:
    pair.one.worker.steps = STALLED
    sent = await created(pair.one, background=True)
    handle = await pair.one.handle()
    await until_status(pair.other, sent["id"], "in_progress")

    path = f"/v1/responses/{sent['id']}{'/cancel' if method == 'POST' else ''}"
    answer = await pair.other.client.request(method, path)

    assert answer.is_success
    await until(handle.cancelled.is_set, DEADLINE_SECONDS, "the slot is free")
    if method == "POST":
        assert (await got(pair.one, sent["id"]))["status"] == "cancelled"
    else:
        assert (await pair.one.client.get(f"/v1/responses/{sent['id']}")).status_code == 404


async def test_its_events_are_read_at_another_frontend(pair: Pair) -> None:
    pair.one.worker.steps = STALLED
    async with pair.one.client.stream("POST", "/v1/responses", json=STREAMED) as answer:
        first, *_ = events_of(await anext(answer.aiter_text()))
    response_id = first[1]["response"]["id"]

    async with pair.other.client.stream("GET", f"/v1/responses/{response_id}?stream=true") as answer:
        texts = answer.aiter_text()
        seen = await anext(texts)
        while "output_text.delta" not in seen:
            seen += await anext(texts)
        # The frontend that runs it has no say in this: the database has.
        await pair.other.client.post(f"/v1/responses/{response_id}/cancel")
        seen += "".join([text async for text in texts])
    events = events_of(seen)
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))
    name, last = events[-1]
    assert (name, last["response"]["status"]) == ("response.incomplete", "cancelled")
    after_all = f"/v1/responses/{response_id}?stream=true&starting_after={len(events) - 1}"
    assert (await pair.other.client.get(after_all)).text == ""


async def test_the_events_of_a_response_that_ended_are_whole(pair: Pair) -> None:
    whole = await pair.one.client.post("/v1/responses", json=STREAMED)
    response_id = events_of(whole.text)[0][1]["response"]["id"]

    again = await pair.other.client.get(f"/v1/responses/{response_id}?stream=true&starting_after=1")

    assert events_of(again.text) == events_of(whole.text)[2:]


async def test_what_a_lost_frontend_ran_has_failed(pair: Pair) -> None:
    """Its row stays behind with a lease that nothing renews."""
    pair.one.worker.steps = STALLED
    sent = await created(pair.one, background=True)
    await until_status(pair.other, sent["id"], "in_progress")
    await _let_leases_run_out(pair.url)

    failed = await got(pair.other, sent["id"])

    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
    assert "has stopped" in failed["error"]["message"]
    handle = await pair.one.handle()
    await until(handle.cancelled.is_set, DEADLINE_SECONDS, "whatever still ran is cancelled")


async def test_the_events_of_what_a_lost_frontend_ran_end(pair: Pair) -> None:
    pair.one.worker.steps = STALLED
    async with pair.one.client.stream("POST", "/v1/responses", json=STREAMED) as answer:
        first, *_ = events_of(await anext(answer.aiter_text()))
    path = f"/v1/responses/{first[1]['response']['id']}?stream=true"

    async with pair.other.client.stream("GET", path) as answer:
        texts = answer.aiter_text()
        seen = await anext(texts)
        await _let_leases_run_out(pair.url)
        seen += "".join([text async for text in texts])

    name, last = events_of(seen)[-1]
    assert (name, last["response"]["status"]) == ("response.failed", "failed")


async def _let_leases_run_out(url: str) -> None:
    database = Database(parse_url(url), 5)
    async with database.transaction() as connection:
        await connection.run("UPDATE responses SET runner = 'lost', lease_unix_ns = $1", time.time_ns() - 1)
    await database.close()


async def test_a_drained_frontend_ends_what_it_runs(start: Start, url: str) -> None:
    settings = {"store_responses": True, "shutdown_grace_seconds": 0, "database_url": url}
    async with start(StallingWorker(steps=STALLED), **settings) as first:
        sent = await created(first, background=True)
        handle = await first.handle()
    assert handle.cancelled.is_set()

    async with start(StallingWorker(), **settings) as second:
        failed = await got(second, sent["id"])
    assert failed["status"] == "failed"
    assert "drain timeout" in failed["error"]["message"]
