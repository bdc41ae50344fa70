"""When the model comes and goes, in virtual time: a fake engine takes exactly as long as it says."""

from __future__ import annotations

import asyncio

import pytest

from drover.durations import FOREVER_NS
from tests.unit.engine_worker.engines.simulator import virtual_time
from tests.unit.engine_worker.residing import (
    running_worker,
    told,
)


@told
async def test_a_model_that_nobody_uses_leaves_when_its_time_is_over() -> None:
    async with running_worker() as worker:
        assert worker.expires_seconds == pytest.approx(300, abs=1)
        await asyncio.sleep(299)
        assert worker.here()
        await asyncio.sleep(2)
        assert not worker.here()
        assert worker.lifecycle.expires_unix_ns == 0
        assert worker.moves == [("unload", 300)]


@told
async def test_the_next_request_brings_it_back_and_knows_that_it_waited() -> None:
    async with running_worker(keep_alive_seconds=1) as worker:
        assert await worker.request() == 0
        await asyncio.sleep(5)
        assert await worker.request() > 0
        assert await worker.request() == 0
        await asyncio.sleep(5)
        assert worker.moves == [("unload", 1), ("load", 5), ("unload", 8)]


@told
async def test_the_time_counts_from_the_end_of_the_last_use() -> None:
    async with running_worker(keep_alive_seconds=10) as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.request(seconds=60))
            group.create_task(worker.request(seconds=20))
            await asyncio.sleep(30)
            assert worker.expires_seconds == pytest.approx(10, abs=1)
        await asyncio.sleep(20)
        assert worker.moves == [("unload", 70)]


@told
async def test_the_latest_request_that_says_how_long_counts() -> None:
    async with running_worker() as worker:
        await worker.request(keep_alive_seconds=50)
        await worker.request(keep_alive_seconds=5)
        await worker.request()
        assert worker.expires_seconds == pytest.approx(5, abs=1)
        await asyncio.sleep(6)
        assert worker.moves == [("unload", 5)]


@told
async def test_a_new_stay_begins_with_the_default() -> None:
    async with running_worker(keep_alive_seconds=100) as worker:
        await worker.request(keep_alive_seconds=5)
        await asyncio.sleep(10)
        await worker.request()
        assert worker.expires_seconds == pytest.approx(100, abs=1)


@told
async def test_zero_means_as_soon_as_nobody_uses_it() -> None:
    async with running_worker() as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.request(seconds=5))
            await worker.request(seconds=1, keep_alive_seconds=0)
            await asyncio.sleep(1)
            assert worker.here()
            assert worker.expires_seconds == pytest.approx(0, abs=1)
        await asyncio.sleep(1)
        assert worker.moves == [("unload", 5)]


@told
async def test_a_later_request_replaces_a_zero_that_still_waits() -> None:
    async with running_worker() as worker:
        async with worker.lifecycle.use(0):
            await worker.request(keep_alive_seconds=60)
        assert worker.expires_seconds == pytest.approx(60, abs=1)
        assert worker.here()


@pytest.mark.parametrize("keep_alive_ns", [-1, FOREVER_NS], ids=["negative", "longer than time goes"])
def test_for_ever(keep_alive_ns: int) -> None:
    async def story() -> None:
        async with running_worker(keep_alive_seconds=1) as worker:
            async with worker.lifecycle.use(keep_alive_ns):
                assert worker.lifecycle.expires_unix_ns == 0
            assert worker.lifecycle.expires_unix_ns == 0
            await asyncio.sleep(1_000_000)
            assert worker.moves == []
            await worker.request(keep_alive_seconds=1)
            await asyncio.sleep(5)
            assert worker.moves == [("unload", 1_000_001)]

    virtual_time.run(story())
