"""Limits of keys over several frontends of one database, and when it is unavailable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from frontend.access.limits.rate_limits import RateLimits
from frontend.access.limits.shared_counts import SharedCounts
from frontend.database.url import parse_url
from tests.support.postgres import Postgres
from tests.support.waiting import until
from tests.unit.frontend.access.limits.limited_keys import Clock, ClockedDatabase, admitted, key, refusal
from tests.unit.frontend.conftest import TIMEOUT_SECONDS

_LEASE_SECONDS = 10.0
_WAIT_SECONDS = 10.0
# A file of SQLite has one frontend.
_shared = pytest.mark.parametrize("url", ["postgresql"], indirect=True)

Frontend = Callable[[], AbstractAsyncContextManager[RateLimits]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def frontend(url: str, clock: Clock) -> Frontend:
    """Starts the limits of one more frontend; its end is a kill -9."""

    @asynccontextmanager
    async def start() -> AsyncIterator[RateLimits]:
        database = ClockedDatabase(parse_url(url), TIMEOUT_SECONDS, clock)
        limits = RateLimits(SharedCounts(database, _LEASE_SECONDS), clock)
        await limits.start()
        try:
            yield limits
        finally:
            await kill(limits)
            await database.close()

    return start


async def kill(limits: RateLimits) -> None:
    """End without writing anything."""
    task = limits._exchange._task  # what a killed process stops doing
    assert task is not None
    task.cancel()
    await asyncio.wait({task})


@_shared
@pytest.mark.parametrize("limit", [1, 10, 60, 200])
async def test_two_frontends_admit_no_more_than_the_limit_together(frontend: Frontend, limit: int) -> None:
    """With little room left, the number is exact; with more, the excess is at most an eighth of it."""
    alice = key(requests=limit)
    async with frontend() as one, frontend() as two:
        found = await asyncio.gather(*(admitted(each, alice, 2 * limit) for each in (one, two)))

    count = sum(map(len, found))
    assert limit <= count <= (limit if limit <= 60 else limit + limit // 8)


async def test_the_count_survives_a_frontend(frontend: Frontend, clock: Clock) -> None:
    async with frontend() as one:
        assert len(await admitted(one, key(requests=6), 9)) == 6
        await one.stop()
    async with frontend() as two:
        error = await refusal(two, key(requests=6))
        assert error is not None
        assert error.wait_seconds == pytest.approx(10)
        clock.pass_seconds(10)
        assert await refusal(two, key(requests=6)) is None


@_shared
async def test_tokens_of_one_frontend_count_on_the_other(frontend: Frontend) -> None:
    alice = key(tokens=1000)
    async with frontend() as one, frontend() as two:
        (answer,) = await admitted(one, alice, 1)
        answer.end(2500)
        await until_written(one)

        error = await refusal(two, alice)

        assert error is not None
        assert (error.limit, round(error.wait_seconds)) == ("tokens_per_minute", 90)


@_shared
async def test_streams_of_one_frontend_count_on_the_other_until_they_end(frontend: Frontend) -> None:
    alice = key(streams=3)
    async with frontend() as one, frontend() as two:
        first = await admitted(one, alice, 2)
        assert len(await admitted(two, alice, 2)) == 1
        assert await refusal(one, alice)
        first[0].end(0)
        assert await refusal(two, alice) is None


async def test_streams_of_a_killed_frontend_count_until_its_lease_expires(
    frontend: Frontend, clock: Clock
) -> None:
    alice = key(streams=1)
    async with frontend() as one:
        assert len(await admitted(one, alice, 1)) == 1
    async with frontend() as two:
        clock.pass_seconds(_LEASE_SECONDS - 1)
        assert await refusal(two, alice)
        clock.pass_seconds(1.1)
        assert await refusal(two, alice) is None


@_shared
async def test_streams_of_a_frontend_that_stops_are_free_at_once(frontend: Frontend) -> None:
    alice = key(streams=1)
    async with frontend() as one, frontend() as two:
        assert len(await admitted(one, alice, 1)) == 1
        await one.stop()
        assert await refusal(two, alice) is None


@_shared
async def test_streams_are_written_again_when_the_lease_had_expired(frontend: Frontend, clock: Clock) -> None:
    alice, bob = key(streams=1), key(requests=5, key_id="k2")
    async with frontend() as one, frontend() as two:
        assert len(await admitted(one, alice, 1)) == 1
        clock.pass_seconds(_LEASE_SECONDS + 1)
        await admitted(two, bob, 1)
        await admitted(one, bob, 1)
        await until_written(one)
        assert await refusal(two, alice)


async def test_keys_that_are_not_used_are_forgotten(frontend: Frontend, clock: Clock) -> None:
    async with frontend() as one:
        many = [one.admit(key(requests=10**6, key_id=f"k{number}"), 0) for number in range(1500)]
        for each in await asyncio.gather(*many):
            each.end(0)
        assert len(one._exchange.counts) == 1500
        await until_written(one)
        clock.pass_seconds(121)
        await one.admit(key(requests=5, key_id="last"), 0)
        await until(lambda: len(one._exchange.counts) == 1, _WAIT_SECONDS, "other keys are forgotten")


async def until_written(limits: RateLimits) -> None:
    def has_all() -> bool:
        return not any(counts.is_changed for counts in limits._exchange.counts.values())

    await until(has_all, _WAIT_SECONDS, "the database has the counts")


@_shared
async def test_a_request_that_is_cancelled_while_it_waits_holds_nothing(frontend: Frontend) -> None:
    """Before, during and just after the exchange that admits it."""
    alice = key(streams=1)
    async with frontend() as one, frontend() as two:
        for turns in range(0, 60, 3):
            waiting = asyncio.create_task(one.admit(alice, 0))
            for _ in range(turns):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait({waiting})
            if not waiting.cancelled():
                waiting.result().end(0)
            (next_one,) = await admitted(two, alice, 1)
            next_one.end(0)
            await until_written(one)
            await until_written(two)


@_shared
async def test_a_frontend_that_hangs_with_the_lock_stops_no_other(
    frontend: Frontend, url: str, clock: Clock
) -> None:
    alice = key(requests=4)
    hanging = ClockedDatabase(parse_url(url), TIMEOUT_SECONDS, clock)
    async with frontend() as one:
        assert len(await admitted(one, alice, 1)) == 1
        async with hanging.exclusive():
            assert len(await admitted(one, alice, 9)) == 3
        await until(lambda: one._exchange.is_available, _WAIT_SECONDS, "the database is used again")
        assert len(await admitted(one, alice, 9)) == 0
    await hanging.close()


@pytest.fixture
async def postgres_frontend(server: Postgres, clock: Clock) -> AsyncIterator[RateLimits]:
    database = ClockedDatabase(parse_url(server.url), TIMEOUT_SECONDS, clock)
    limits = RateLimits(SharedCounts(database, _LEASE_SECONDS), clock)
    await limits.start()
    yield limits
    await limits.stop()
    await database.close()


async def test_without_the_database_limits_hold_per_frontend(
    postgres_frontend: RateLimits, server: Postgres, clock: Clock
) -> None:
    limits, alice = postgres_frontend, key(requests=6, streams=20, key_id="outage")
    assert len(await admitted(limits, alice, 2)) == 2
    server.stop()
    try:
        assert len(await admitted(limits, alice, 9)) == 4
        clock.pass_seconds(10)
        assert len(await admitted(limits, alice, 9)) == 1
    finally:
        server.start()
    await until(lambda: limits._exchange.is_available, _WAIT_SECONDS, "the database is used again")
    clock.pass_seconds(10)
    assert len(await admitted(limits, alice, 9)) == 1
