"""Waiting for a load, failed loads, early unloads and stopping, in virtual time over a fake engine."""

from __future__ import annotations

import asyncio
import logging

import pytest

from drover.errors import DeadlineExceeded, DroverError, EngineFailed, QueueFull, WorkerDraining
from tests.unit.engine_worker.engines.simulator import virtual_time
from tests.unit.engine_worker.lifecycle_harness import (
    in_virtual_time,
    now,
    running_worker,
)


@in_virtual_time
async def test_many_requests_wait_for_one_load() -> None:
    async with running_worker() as worker:
        await worker.unload()
        waits = await asyncio.gather(*(worker.request() for _ in range(50)))
        assert all(waits)
        assert worker.transitions == [("unload", 0), ("load", 0)]
        assert worker.lifecycle.waiting == 0


@in_virtual_time
async def test_a_cancelled_request_does_not_cancel_the_load_of_others() -> None:
    async with running_worker() as worker:
        await worker.unload()
        leaving, staying = (asyncio.create_task(worker.request()) for _ in range(2))
        await asyncio.sleep(1)
        assert worker.lifecycle.waiting == 2
        leaving.cancel()
        await asyncio.wait({leaving})
        assert leaving.cancelled()
        assert worker.lifecycle.waiting == 1
        assert await staying > 0
        assert worker.transitions == [("unload", 0), ("load", 0)]


@in_virtual_time
async def test_an_abandoned_load_is_kept_for_the_requested_keep_alive() -> None:
    async with running_worker() as worker:
        await worker.unload()
        leaving = asyncio.create_task(worker.request(keep_alive_seconds=7))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.sleep(20)
        assert worker.transitions == [("unload", 0), ("load", 0), ("unload", 9)]


@in_virtual_time
async def test_a_request_during_an_unload_waits_for_the_next_load() -> None:
    async with running_worker() as worker:
        worker.engine.unload_seconds = 3
        worker.lifecycle.unload_when_idle()
        await asyncio.sleep(1)
        assert worker.is_loaded()
        assert worker.expires_seconds == pytest.approx(0, abs=1)
        assert await worker.request() > 0
        assert worker.transitions == [("unload", 0), ("load", 3)]


@in_virtual_time
async def test_a_request_cancelled_during_an_unload_causes_no_load() -> None:
    async with running_worker() as worker:
        worker.engine.unload_seconds = 3
        worker.lifecycle.unload_when_idle()
        await asyncio.sleep(1)
        leaving = asyncio.create_task(worker.request(keep_alive_seconds=1))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.sleep(10)
        assert worker.transitions == [("unload", 0)]
        await worker.request()
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RuntimeError("no memory"), "the model could not be loaded: no memory"),
        (EngineFailed("its own message"), "its own message"),
    ],
)
def test_a_failed_load_fails_all_waiting_requests_and_can_be_retried(
    failure: Exception, message: str
) -> None:
    async def body() -> None:
        async with running_worker(keep_alive_seconds=100) as worker:
            await worker.unload()
            worker.engine.failures = [failure]
            outcomes = await asyncio.gather(
                *(worker.request(keep_alive_seconds=1) for _ in range(3)), return_exceptions=True
            )
            for outcome in outcomes:
                assert isinstance(outcome, EngineFailed)
                assert outcome.message == message
            assert not worker.is_loaded()
            await asyncio.sleep(60)
            assert worker.transitions == [("unload", 0), ("load", 0)]
            await worker.request()
            assert worker.expires_seconds == pytest.approx(100, abs=1)

    virtual_time.run(body())


@in_virtual_time
async def test_a_request_times_out_and_the_load_continues() -> None:
    async with running_worker() as worker:
        await worker.unload()
        worker.engine.load_seconds = 15
        with pytest.raises(DeadlineExceeded, match="did not load within 10 s"):
            await worker.request()
        assert await worker.request() > 0
        assert worker.transitions == [("unload", 0), ("load", 0)]


@in_virtual_time
async def test_without_a_limit_a_request_waits_for_any_load() -> None:
    async with running_worker(load_timeout_seconds=0) as worker:
        await worker.unload()
        worker.engine.load_seconds = 100_000
        assert await worker.request() > 0


@in_virtual_time
async def test_the_number_of_waiting_requests_is_limited() -> None:
    async with running_worker(waiting_limit=2) as worker:
        await worker.unload()
        waiting = [asyncio.create_task(worker.request()) for _ in range(2)]
        await asyncio.sleep(1)
        with pytest.raises(QueueFull):
            await worker.request(keep_alive_seconds=0)
        await asyncio.gather(*waiting)
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(worker.request(seconds=1))
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@in_virtual_time
async def test_an_unload_waits_for_running_requests() -> None:
    async with running_worker() as worker:
        running = asyncio.create_task(worker.request(seconds=4))
        await asyncio.sleep(1)
        assert worker.lifecycle.unload_when_idle()
        assert worker.expires_seconds == pytest.approx(0, abs=1)
        await worker.request(seconds=1)
        assert await running == 0
        await asyncio.sleep(1)
        assert worker.transitions == [("unload", 4)]


@in_virtual_time
async def test_unloading_an_unloaded_model_changes_nothing() -> None:
    async with running_worker() as worker:
        await worker.unload()
        assert not worker.lifecycle.unload_when_idle()
        await worker.request()
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@in_virtual_time
async def test_a_model_can_be_unloaded_while_it_loads() -> None:
    async with running_worker() as worker:
        await worker.unload()
        coming = asyncio.create_task(worker.request(seconds=1))
        await asyncio.sleep(1)
        assert worker.lifecycle.unload_when_idle()
        assert await coming > 0
        await asyncio.sleep(1)
        assert worker.transitions == [("unload", 0), ("load", 0), ("unload", 3)]


@in_virtual_time
async def test_a_pinned_model_is_never_unloaded() -> None:
    async with running_worker(keep_alive_seconds=1, pinned=True) as worker:
        await worker.request(keep_alive_seconds=0)
        assert worker.lifecycle.unload_when_idle()
        await asyncio.sleep(1000)
        assert worker.is_loaded()
        assert worker.lifecycle.expires_unix_ns == 0
        assert worker.transitions == []


@in_virtual_time
async def test_stop_fails_waiting_requests_and_ends_the_load() -> None:
    async with running_worker() as worker:
        await worker.unload()
        waiting = asyncio.create_task(worker.request())
        await asyncio.sleep(1)
        await worker.lifecycle.stop()
        with pytest.raises(WorkerDraining):
            await waiting
        assert not worker.engine.is_busy
        await worker.lifecycle.stop()


@in_virtual_time
async def test_changes_of_state_and_expiry_are_notified_at_once() -> None:
    async with running_worker(keep_alive_seconds=100) as worker:
        notified: list[float] = []

        async def watch() -> None:
            while True:
                notify = worker.changed.next_change
                await notify.wait()
                notified.append(round(now() - worker.began, 6))

        watching = asyncio.create_task(watch())
        await worker.request()
        await worker.request()
        await asyncio.sleep(50)
        before = len(notified)
        await worker.request(keep_alive_seconds=60)
        await asyncio.sleep(0)
        assert len(notified) > before
        await asyncio.sleep(70)
        assert notified[-1] == 110
        await worker.request()
        await asyncio.sleep(0)
        assert notified[-1] == 122
        watching.cancel()


@in_virtual_time
async def test_each_waiting_request_gets_its_own_exception() -> None:
    """An exception that is raised twice would carry both tracebacks."""
    async with running_worker() as worker:
        await worker.unload()
        worker.engine.failures = [EngineFailed("no")]
        one, other = await asyncio.gather(worker.request(), worker.request(), return_exceptions=True)
        assert isinstance(one, DroverError)
        assert one is not other


def test_a_model_that_stays_in_memory_is_loaded_and_the_next_unload_waits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Requests that came meanwhile need no load."""
    caplog.set_level(logging.INFO)

    async def body() -> None:
        async with running_worker(keep_alive_seconds=0.0) as worker:
            worker.engine.unload_failures, worker.engine.unload_seconds = [EngineFailed("no")], 3.0
            await asyncio.sleep(1)
            assert await worker.request() > 0
            assert worker.is_loaded()
            await worker.unload()
            assert worker.transitions == [("unload", 0), ("unload", 3)]

    virtual_time.run(body())
    assert _logged(caplog) == ["model unload failed, it stays in memory", "model unloaded"]


@in_virtual_time
async def test_an_unload_that_fails_at_once_is_not_tried_at_once_again() -> None:
    async with running_worker(keep_alive_seconds=0.0) as worker:
        worker.engine.unload_failures = [EngineFailed("no"), EngineFailed("no")]
        await asyncio.sleep(25)
        assert worker.transitions == [("unload", 0), ("unload", 10), ("unload", 20)]


def test_an_unload_that_fails_in_an_unknown_way_is_not_called_done(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def body() -> None:
        async with running_worker() as worker:
            worker.engine.unload_failures = [RuntimeError("no")]
            await worker.unload()

    virtual_time.run(body())
    assert _logged(caplog) == ["model unload failed"]


def _logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "drover.worker"]
