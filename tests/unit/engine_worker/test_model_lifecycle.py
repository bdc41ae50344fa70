"""Keep-alive: when the model is unloaded and loaded, in virtual time over a fake engine."""

from __future__ import annotations

import asyncio

import pytest

from drover.durations import FOREVER_NS
from tests.unit.engine_worker.engines.simulator import virtual_time
from tests.unit.engine_worker.lifecycle_harness import (
    in_virtual_time,
    running_worker,
)


@in_virtual_time
async def test_an_idle_model_is_unloaded_after_its_keep_alive() -> None:
    async with running_worker() as worker:
        assert worker.expires_seconds == pytest.approx(300, abs=1)
        await asyncio.sleep(299)
        assert worker.is_loaded()
        await asyncio.sleep(2)
        assert not worker.is_loaded()
        assert worker.lifecycle.expires_unix_ns == 0
        assert worker.transitions == [("unload", 300)]


@in_virtual_time
async def test_the_next_request_reloads_the_model_and_reports_its_wait() -> None:
    async with running_worker(keep_alive_seconds=1) as worker:
        assert await worker.request() == 0
        await asyncio.sleep(5)
        assert await worker.request() > 0
        assert await worker.request() == 0
        await asyncio.sleep(5)
        assert worker.transitions == [("unload", 1), ("load", 5), ("unload", 8)]


@in_virtual_time
async def test_the_keep_alive_counts_from_the_end_of_the_last_use() -> None:
    async with running_worker(keep_alive_seconds=10) as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.request(seconds=60))
            group.create_task(worker.request(seconds=20))
            await asyncio.sleep(30)
            assert worker.expires_seconds == pytest.approx(10, abs=1)
        await asyncio.sleep(20)
        assert worker.transitions == [("unload", 70)]


@in_virtual_time
async def test_the_latest_requested_keep_alive_counts() -> None:
    async with running_worker() as worker:
        await worker.request(keep_alive_seconds=50)
        await worker.request(keep_alive_seconds=5)
        await worker.request()
        assert worker.expires_seconds == pytest.approx(5, abs=1)
        await asyncio.sleep(6)
        assert worker.transitions == [("unload", 5)]


@in_virtual_time
async def test_a_reloaded_model_has_the_default_keep_alive() -> None:
    async with running_worker(keep_alive_seconds=100) as worker:
        await worker.request(keep_alive_seconds=5)
        await asyncio.sleep(10)
        await worker.request()
        assert worker.expires_seconds == pytest.approx(100, abs=1)


@in_virtual_time
async def test_zero_unloads_after_the_last_running_request() -> None:
    async with running_worker() as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.request(seconds=5))
            await worker.request(seconds=1, keep_alive_seconds=0)
            await asyncio.sleep(1)
            assert worker.is_loaded()
            assert worker.expires_seconds == pytest.approx(0, abs=1)
        await asyncio.sleep(1)
        assert worker.transitions == [("unload", 5)]


@in_virtual_time
async def test_a_later_request_replaces_a_pending_zero() -> None:
    async with running_worker() as worker:
        async with worker.lifecycle.use(0):
            await worker.request(keep_alive_seconds=60)
        assert worker.expires_seconds == pytest.approx(60, abs=1)
        assert worker.is_loaded()


@in_virtual_time
async def test_a_model_may_wait_longer_for_its_first_use_than_it_is_kept() -> None:
    """Else a host that keeps nothing would load it again and again, before its request arrives."""
    async with running_worker(keep_alive_seconds=0, unused_seconds=10) as worker:
        assert worker.expires_seconds == pytest.approx(10, abs=1)
        await asyncio.sleep(5)
        assert await worker.request() == 0
        await asyncio.sleep(1)
        assert worker.transitions == [("unload", 5)]
    async with running_worker(keep_alive_seconds=0, unused_seconds=10) as worker:
        await asyncio.sleep(20)
        assert worker.transitions == [("unload", 10)]


@pytest.mark.parametrize("keep_alive_ns", [-1, FOREVER_NS], ids=["negative", "beyond int64"])
def test_a_keep_alive_without_end(keep_alive_ns: int) -> None:
    async def body() -> None:
        async with running_worker(keep_alive_seconds=1) as worker:
            async with worker.lifecycle.use(keep_alive_ns):
                assert worker.lifecycle.expires_unix_ns == 0
            assert worker.lifecycle.expires_unix_ns == 0
            await asyncio.sleep(1_000_000)
            assert worker.transitions == []
            await worker.request(keep_alive_seconds=1)
            await asyncio.sleep(5)
            assert worker.transitions == [("unload", 1_000_001)]

    virtual_time.run(body())
