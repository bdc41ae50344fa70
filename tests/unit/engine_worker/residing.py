"""A worker's residency over an engine that only takes its time, told in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager

from drover.concurrency import ChangeSignal
from drover.durations import NS_PER_SECOND
from engine_worker.model_lifecycle import ModelLifecycle
from tests.unit.engine_worker.engines.simulator import virtual_time

DEFAULT_SECONDS = 300.0
LOAD_SECONDS = 2.0
LOAD_TIMEOUT_SECONDS = 10.0


class Fake:
    """Moves take their time and never overlap."""

    def __init__(self) -> None:
        self.moves: list[tuple[str, float]] = []
        self.moving = False
        self.load_seconds = LOAD_SECONDS
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
        self.moves.append((what, now()))
        self.moving = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.moving = False


class Worker:
    def __init__(self, keep_alive_seconds: float, load_timeout_seconds: float) -> None:
        self.engine = Fake()
        self.changed = ChangeSignal()
        self.lifecycle = ModelLifecycle(
            self.engine, round(keep_alive_seconds * NS_PER_SECOND), load_timeout_seconds, self.changed
        )
        self.began = now()

    @property
    def moves(self) -> list[tuple[str, float]]:
        """What the engine was told, and seconds after the start."""
        return [(what, round(at - self.began, 6)) for what, at in self.engine.moves]

    @property
    def expires_seconds(self) -> float:
        """From now on."""
        return (self.lifecycle.expires_unix_ns - time.time_ns()) / NS_PER_SECOND

    def here(self) -> bool:
        return self.lifecycle.loaded

    async def request(self, seconds: float = 0.0, keep_alive_seconds: float | None = None) -> int:
        keep_alive_ns = None if keep_alive_seconds is None else round(keep_alive_seconds * NS_PER_SECOND)
        async with self.lifecycle.use(keep_alive_ns) as load_ns:
            assert self.here()
            assert not self.engine.moving
            await asyncio.sleep(seconds)
        return load_ns

    async def gone(self) -> None:
        """Lets the model go, and waits until it went."""
        self.lifecycle.let_go()
        while self.here():
            await self.changed.next_change.wait()


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running_worker(
    keep_alive_seconds: float = DEFAULT_SECONDS,
    load_timeout_seconds: float = LOAD_TIMEOUT_SECONDS,
    pinned: bool = False,
    waiting_limit: int = 100,
) -> AsyncGenerator[Worker, None]:
    worker = Worker(keep_alive_seconds, load_timeout_seconds)
    worker.lifecycle.start(pinned=pinned, waiting_limit=waiting_limit)
    try:
        yield worker
    finally:
        await worker.lifecycle.stop()


Story = Callable[[], Coroutine[object, object, None]]


def told(story: Story) -> Callable[[], None]:
    """A test whose clock runs only while everybody waits."""

    def test() -> None:
        virtual_time.run(story())

    test.__name__ = story.__name__
    return test
