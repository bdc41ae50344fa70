"""When the model comes and goes, in virtual time: a fake engine takes exactly as long as it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest

from drover.durations import FOREVER_NS, NS_PER_SECOND
from drover.errors import DeadlineExceeded, DroverError, EngineFailed, QueueFull, WorkerDraining
from engine_worker.bell import Bell
from engine_worker.residency import Residency
from tests.unit.engine_worker.engines.simulator import virtual_time

_DEFAULT_SECONDS = 300.0
_LOAD_SECONDS = 2.0
_LOAD_TIMEOUT_SECONDS = 10.0


class Fake:
    """Moves take their time and never overlap."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, float]] = []
        self.moving = False
        self.load_seconds = _LOAD_SECONDS
        self.unload_seconds = 0.0
        self.failures: list[Exception] = []

    async def load(self) -> None:
        await self._move("load", self.load_seconds)
        if self.failures:
            raise self.failures.pop(0)

    async def unload(self) -> None:
        await self._move("unload", self.unload_seconds)

    async def _move(self, what: str, seconds: float) -> None:
        assert not self.moving
        self.moves.append((what, _now()))
        self.moving = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.moving = False


class Worker:
    def __init__(self, keep_alive_seconds: float, load_timeout_seconds: float) -> None:
        self.engine = Fake()
        self.changed = Bell()
        self.residency = Residency(
            self.engine, round(keep_alive_seconds * NS_PER_SECOND), load_timeout_seconds, self.changed
        )
        self.began = _now()

    @property
    def moves(self) -> list[tuple[str, float]]:
        """What the engine was told, and seconds after the start."""
        return [(what, round(at - self.began, 6)) for what, at in self.engine.moves]

    @property
    def expires_seconds(self) -> float:
        """From now on."""
        return (self.residency.expires_unix_ns - time.time_ns()) / NS_PER_SECOND

    def here(self) -> bool:
        return self.residency.loaded

    async def request(self, seconds: float = 0.0, keep_alive_seconds: float | None = None) -> int:
        keep_alive_ns = None if keep_alive_seconds is None else round(keep_alive_seconds * NS_PER_SECOND)
        async with self.residency.use(keep_alive_ns) as load_ns:
            assert self.here()
            assert not self.engine.moving
            await asyncio.sleep(seconds)
        return load_ns

    async def gone(self) -> None:
        """Lets the model go, and waits until it went."""
        self.residency.let_go()
        while self.here():
            await self.changed.next_ring.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def _worker(
    keep_alive_seconds: float = _DEFAULT_SECONDS,
    load_timeout_seconds: float = _LOAD_TIMEOUT_SECONDS,
    pinned: bool = False,
    waiting_limit: int = 100,
) -> AsyncGenerator[Worker, None]:
    worker = Worker(keep_alive_seconds, load_timeout_seconds)
    worker.residency.start(pinned=pinned, waiting_limit=waiting_limit)
    try:
        yield worker
    finally:
        await worker.residency.stop()


Story = Callable[[], Coroutine[object, object, None]]


def _told(story: Story) -> Callable[[], None]:
    """A test whose clock runs only while everybody waits."""

    def test() -> None:
        virtual_time.run(story())

    test.__name__ = story.__name__
    return test


@_told
async def test_a_model_that_nobody_uses_leaves_when_its_time_is_over() -> None:
    async with _worker() as worker:
        assert worker.expires_seconds == pytest.approx(300, abs=1)
        await asyncio.sleep(299)
        assert worker.here()
        await asyncio.sleep(2)
        assert not worker.here()
        assert worker.residency.expires_unix_ns == 0
        assert worker.moves == [("unload", 300)]


@_told
async def test_the_next_request_brings_it_back_and_knows_that_it_waited() -> None:
    async with _worker(keep_alive_seconds=1) as worker:
        assert await worker.request() == 0
        await asyncio.sleep(5)
        assert await worker.request() > 0
        assert await worker.request() == 0
        await asyncio.sleep(5)
        assert worker.moves == [("unload", 1), ("load", 5), ("unload", 8)]


@_told
async def test_the_time_counts_from_the_end_of_the_last_use() -> None:
    async with _worker(keep_alive_seconds=10) as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.request(seconds=60))
            group.create_task(worker.request(seconds=20))
            await asyncio.sleep(30)
            assert worker.expires_seconds == pytest.approx(10, abs=1)
        await asyncio.sleep(20)
        assert worker.moves == [("unload", 70)]


@_told
async def test_the_latest_request_that_says_how_long_counts() -> None:
    async with _worker() as worker:
        await worker.request(keep_alive_seconds=50)
        await worker.request(keep_alive_seconds=5)
        await worker.request()
        assert worker.expires_seconds == pytest.approx(5, abs=1)
        await asyncio.sleep(6)
        assert worker.moves == [("unload", 5)]


@_told
async def test_a_new_stay_begins_with_the_default() -> None:
    async with _worker(keep_alive_seconds=100) as worker:
        await worker.request(keep_alive_seconds=5)
        await asyncio.sleep(10)
        await worker.request()
        assert worker.expires_seconds == pytest.approx(100, abs=1)


@_told
async def test_zero_means_as_soon_as_nobody_uses_it() -> None:
    async with _worker() as worker:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.request(seconds=5))
            await worker.request(seconds=1, keep_alive_seconds=0)
            await asyncio.sleep(1)
            assert worker.here()
            assert worker.expires_seconds == pytest.approx(0, abs=1)
        await asyncio.sleep(1)
        assert worker.moves == [("unload", 5)]


@_told
async def test_a_later_request_replaces_a_zero_that_still_waits() -> None:
    async with _worker() as worker:
        async with worker.residency.use(0):
            await worker.request(keep_alive_seconds=60)
        assert worker.expires_seconds == pytest.approx(60, abs=1)
        assert worker.here()


@pytest.mark.parametrize("keep_alive_ns", [-1, FOREVER_NS], ids=["negative", "longer than time goes"])
def test_for_ever(keep_alive_ns: int) -> None:
    async def story() -> None:
        async with _worker(keep_alive_seconds=1) as worker:
            async with worker.residency.use(keep_alive_ns):
                assert worker.residency.expires_unix_ns == 0
            assert worker.residency.expires_unix_ns == 0
            await asyncio.sleep(1_000_000)
            assert worker.moves == []
            await worker.request(keep_alive_seconds=1)
            await asyncio.sleep(5)
            assert worker.moves == [("unload", 1_000_001)]

    virtual_time.run(story())


@_told
async def test_many_wait_for_one_load() -> None:
    async with _worker() as worker:
        await worker.gone()
        waits = await asyncio.gather(*(worker.request() for _ in range(50)))
        assert all(waits)
        assert worker.moves == [("unload", 0), ("load", 0)]
        assert worker.residency.waiting == 0


@_told
async def test_who_leaves_during_a_load_takes_nobody_with_him() -> None:
    async with _worker() as worker:
        await worker.gone()
        leaving, staying = (asyncio.create_task(worker.request()) for _ in range(2))
        await asyncio.sleep(1)
        assert worker.residency.waiting == 2
        leaving.cancel()
        await asyncio.wait({leaving})
        assert leaving.cancelled()
        assert worker.residency.waiting == 1
        assert await staying > 0
        assert worker.moves == [("unload", 0), ("load", 0)]


@_told
async def test_a_load_that_nobody_waits_for_any_more_is_kept_as_long_as_was_asked() -> None:
    async with _worker() as worker:
        await worker.gone()
        leaving = asyncio.create_task(worker.request(keep_alive_seconds=7))
        await asyncio.sleep(1)
        leaving.cancel()
        await asyncio.sleep(20)
        assert worker.moves == [("unload", 0), ("load", 0), ("unload", 9)]


@_told
async def test_who_comes_while_it_leaves_waits_for_its_return() -> None:
    async with _worker() as worker:
        worker.engine.unload_seconds = 3
        worker.residency.let_go()
        await asyncio.sleep(1)
        assert worker.here()
        assert worker.expires_seconds == pytest.approx(0, abs=1)
        assert await worker.request() > 0
        assert worker.moves == [("unload", 0), ("load", 3)]


@_told
async def test_who_left_before_it_was_gone_does_not_bring_it_back() -> None:
    async with _worker() as worker:
        worker.engine.unload_seconds = 3
        worker.residency.let_go()
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
        async with _worker(keep_alive_seconds=100) as worker:
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


@_told
async def test_who_waits_too_long_is_told_so_and_the_load_goes_on() -> None:
    async with _worker() as worker:
        await worker.gone()
        worker.engine.load_seconds = 15
        with pytest.raises(DeadlineExceeded, match="did not load within 10 s"):
            await worker.request()
        assert await worker.request() > 0
        assert worker.moves == [("unload", 0), ("load", 0)]


@_told
async def test_without_a_limit_it_waits() -> None:
    async with _worker(load_timeout_seconds=0) as worker:
        await worker.gone()
        worker.engine.load_seconds = 100_000
        assert await worker.request() > 0


@_told
async def test_so_many_may_wait_and_no_more() -> None:
    async with _worker(waiting_limit=2) as worker:
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


@_told
async def test_letting_go_waits_for_who_uses_it() -> None:
    async with _worker() as worker:
        running = asyncio.create_task(worker.request(seconds=4))
        await asyncio.sleep(1)
        assert worker.residency.let_go()
        assert worker.expires_seconds == pytest.approx(0, abs=1)
        await worker.request(seconds=1)
        assert await running == 0
        await asyncio.sleep(1)
        assert worker.moves == [("unload", 4)]


@_told
async def test_letting_go_of_what_is_not_there_asks_for_nothing() -> None:
    async with _worker() as worker:
        await worker.gone()
        assert not worker.residency.let_go()
        await worker.request()
        assert worker.expires_seconds == pytest.approx(300, abs=1)


@_told
async def test_a_model_that_comes_can_be_let_go_of() -> None:
    async with _worker() as worker:
        await worker.gone()
        coming = asyncio.create_task(worker.request(seconds=1))
        await asyncio.sleep(1)
        assert worker.residency.let_go()
        assert await coming > 0
        await asyncio.sleep(1)
        assert worker.moves == [("unload", 0), ("load", 0), ("unload", 3)]


@_told
async def test_a_pinned_model_stays() -> None:
    async with _worker(keep_alive_seconds=1, pinned=True) as worker:
        await worker.request(keep_alive_seconds=0)
        assert worker.residency.let_go()
        await asyncio.sleep(1000)
        assert worker.here()
        assert worker.residency.expires_unix_ns == 0
        assert worker.moves == []


@_told
async def test_stopping_ends_who_waits_and_the_load() -> None:
    async with _worker() as worker:
        await worker.gone()
        waiting = asyncio.create_task(worker.request())
        await asyncio.sleep(1)
        await worker.residency.stop()
        with pytest.raises(WorkerDraining):
            await waiting
        assert not worker.engine.moving
        await worker.residency.stop()


@_told
async def test_watchers_hear_at_once_what_they_would_want_to_know() -> None:
    async with _worker(keep_alive_seconds=100) as worker:
        rings: list[float] = []

        async def listen() -> None:
            while True:
                ring = worker.changed.next_ring
                await ring.wait()
                rings.append(round(_now() - worker.began, 6))

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


@_told
async def test_errors_are_not_shared_between_those_who_hear_them() -> None:
    """An exception that is raised twice would carry both tracebacks."""
    async with _worker() as worker:
        await worker.gone()
        worker.engine.failures = [EngineFailed("no")]
        one, other = await asyncio.gather(worker.request(), worker.request(), return_exceptions=True)
        assert isinstance(one, DroverError)
        assert one is not other
