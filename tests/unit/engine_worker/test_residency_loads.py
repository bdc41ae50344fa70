"""How the model comes back, and how it is let go of: waiting, failing, stopping."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import DeadlineExceeded, DroverError, EngineFailed, QueueFull, WorkerDraining
from tests.unit.engine_worker.engines.simulator import virtual_time
from tests.unit.engine_worker.residing import (
    now,
    running_worker,
    told,
)


@told
async def test_many_wait_for_one_load() -> None:
    async with running_worker() as worker:
        await worker.gone()
        waits = await asyncio.gather(*(worker.request() for _ in range(50)))
        assert all(waits)
        assert worker.moves == [("unload", 0), ("load", 0)]
        assert worker.lifecycle.waiting == 0


@told
async def test_who_leaves_during_a_load_takes_nobody_with_him() -> None:
    async with running_worker() as worker:
        await worker.gone()
        leaving, staying = (asyncio.create_task(worker.request()) for _ in range(2))
        await asyncio.sleep(1)
        assert worker.lifecycle.waiting == 2
        leaving.cancel()
        await asyncio.wait({leaving})
        assert leaving.cancelled()
        assert worker.lifecycle.waiting == 1
        assert await staying > 0
        assert worker.moves == [("unload", 0), ("load", 0)]


@told
async def test_a_load_that_nobody_waits_for_any_more_is_kept_as_long_as_was_asked() -> None:
    async with running_worker() as worker:
        await worker.gone()
        leaving = asyncio.create_task(worker.request(keep_alive_seconds=7))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.sleep(20)
        assert worker.moves == [("unload", 0), ("load", 0), ("unload", 9)]


@told
async def test_who_comes_while_it_leaves_waits_for_its_return() -> None:
    async with running_worker() as worker:
        worker.engine.unload_seconds = 3
        worker.lifecycle.let_go()
        await asyncio.sleep(1)
        assert worker.here()
        assert worker.expires_seconds == pytest.approx(0, abs=1)
        assert await worker.request() > 0
        assert worker.moves == [("unload", 0), ("load", 3)]


@told
async def test_who_left_before_it_was_gone_does_not_bring_it_back() -> None:
    async with running_worker() as worker:
        worker.engine.unload_seconds = 3
        worker.lifecycle.let_go()
        await asyncio.sleep(1)
        leaving = asyncio.create_task(worker.request(keep_alive_seconds=1))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.sleep(10)
        assert worker.moves == [("unload", 0)]
        await worker.request()
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RuntimeError("no memory"), "the model could not be loaded: no memory"),
        (EngineFailed("its own words"), "its own words"),
    ],
)
def test_a_load_that_fails_is_told_to_all_who_wait_and_may_be_tried_again(
    failure: Exception, message: str
) -> None:
    async def story() -> None:
        async with running_worker(keep_alive_seconds=100) as worker:
            await worker.gone()
            worker.engine.failures = [failure]
            outcomes = await asyncio.gather(
                *(worker.request(keep_alive_seconds=1) for _ in range(3)), return_exceptions=True
            )
            for outcome in outcomes:
                assert isinstance(outcome, EngineFailed)
                assert outcome.message == message
            assert not worker.here()
            await asyncio.sleep(60)
            assert worker.moves == [("unload", 0), ("load", 0)]
            await worker.request()
            assert worker.expires_seconds == pytest.approx(100, abs=1)

    virtual_time.run(story())


@told
async def test_who_waits_too_long_is_told_so_and_the_load_goes_on() -> None:
    async with running_worker() as worker:
        await worker.gone()
        worker.engine.load_seconds = 15
        with pytest.raises(DeadlineExceeded, match="did not load within 10 s"):
            await worker.request()
        assert await worker.request() > 0
        assert worker.moves == [("unload", 0), ("load", 0)]


@told
async def test_without_a_limit_it_waits() -> None:
    async with running_worker(load_timeout_seconds=0) as worker:
        await worker.gone()
        worker.engine.load_seconds = 100_000
        assert await worker.request() > 0


@told
async def test_so_many_may_wait_and_no_more() -> None:
    async with running_worker(waiting_limit=2) as worker:
        await worker.gone()
        waiting = [asyncio.create_task(worker.request()) for _ in range(2)]
        await asyncio.sleep(1)
        with pytest.raises(QueueFull):
            await worker.request(keep_alive_seconds=0)
        await asyncio.gather(*waiting)
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(worker.request(seconds=1))
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@told
async def test_letting_go_waits_for_who_uses_it() -> None:
    async with running_worker() as worker:
        running = asyncio.create_task(worker.request(seconds=4))
        await asyncio.sleep(1)
        assert worker.lifecycle.let_go()
        assert worker.expires_seconds == pytest.approx(0, abs=1)
        await worker.request(seconds=1)
        assert await running == 0
        await asyncio.sleep(1)
        assert worker.moves == [("unload", 4)]


@told
async def test_letting_go_of_what_is_not_there_asks_for_nothing() -> None:
    async with running_worker() as worker:
        await worker.gone()
        assert not worker.lifecycle.let_go()
        await worker.request()
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@told
async def test_a_model_that_comes_can_be_let_go_of() -> None:
    async with running_worker() as worker:
        await worker.gone()
        coming = asyncio.create_task(worker.request(seconds=1))
        await asyncio.sleep(1)
        assert worker.lifecycle.let_go()
        assert await coming > 0
        await asyncio.sleep(1)
        assert worker.moves == [("unload", 0), ("load", 0), ("unload", 3)]


@told
async def test_a_pinned_model_stays() -> None:
    async with running_worker(keep_alive_seconds=1, pinned=True) as worker:
        await worker.request(keep_alive_seconds=0)
        assert worker.lifecycle.let_go()
        await asyncio.sleep(1000)
        assert worker.here()
        assert worker.lifecycle.expires_unix_ns == 0
        assert worker.moves == []


@told
async def test_stopping_ends_who_waits_and_the_load() -> None:
    async with running_worker() as worker:
        await worker.gone()
        waiting = asyncio.create_task(worker.request())
        await asyncio.sleep(1)
        await worker.lifecycle.stop()
        with pytest.raises(WorkerDraining):
            await waiting
        assert not worker.engine.moving
        await worker.lifecycle.stop()


@told
async def test_watchers_hear_at_once_what_they_would_want_to_know() -> None:
    async with running_worker(keep_alive_seconds=100) as worker:
        rings: list[float] = []

        async def listen() -> None:
            while True:
                notify = worker.changed.next_change
                await notify.wait()
                rings.append(round(now() - worker.began, 6))

        listening = asyncio.create_task(listen())
        await worker.request()
        await worker.request()
        await asyncio.sleep(50)
        before = len(rings)
        await worker.request(keep_alive_seconds=60)
        await asyncio.sleep(0)
        assert len(rings) > before
        await asyncio.sleep(70)
        assert rings[-1] == 110
        await worker.request()
        await asyncio.sleep(0)
        assert rings[-1] == 122
        listening.cancel()


@told
async def test_errors_are_not_shared_between_those_who_hear_them() -> None:
    """An exception that is raised twice would carry both tracebacks."""
    async with running_worker() as worker:
        await worker.gone()
        worker.engine.failures = [EngineFailed("no")]
        one, other = await asyncio.gather(worker.request(), worker.request(), return_exceptions=True)
        assert isinstance(one, DroverError)
        assert one is not other
