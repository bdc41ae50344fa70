"""A ModelLifecycle over a fake engine whose loads and unloads only take time, in virtual time."""

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


class FakeEngine:
    """Record loads and unloads, and assert that they never overlap."""

    def __init__(self) -> None:
        self.transitions: list[tuple[str, float]] = []
        self.is_busy = False
        self.load_seconds = LOAD_SECONDS
        self.unload_seconds = 0.0
        self.failures: list[Exception] = []
        """Of loads, as `unload_failures` of unloads."""
        self.unload_failures: list[Exception] = []

    async def load(self) -> None:
        await self._run("load", self.load_seconds)
        if self.failures:
            raise self.failures.pop(0)

    async def unload(self) -> None:
        await self._run("unload", self.unload_seconds)
        if self.unload_failures:
            raise self.unload_failures.pop(0)

    async def _run(self, what: str, seconds: float) -> None:
        assert not self.is_busy
        self.transitions.append((what, now()))
        self.is_busy = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.is_busy = False


class Worker:
    def __init__(self, keep_alive_seconds: float, load_timeout_seconds: float) -> None:
        self.engine = FakeEngine()
        self.changed = ChangeSignal()
        self.lifecycle = ModelLifecycle(
            self.engine, round(keep_alive_seconds * NS_PER_SECOND), load_timeout_seconds, self.changed
        )
        self.began = now()

    @property
    def transitions(self) -> list[tuple[str, float]]:
        """The loads and unloads, each with seconds after the start."""
        return [(what, round(at - self.began, 6)) for what, at in self.engine.transitions]

    @property
    def expires_seconds(self) -> float:
        """Seconds until the expiry."""
        return (self.lifecycle.expires_unix_ns - time.time_ns()) / NS_PER_SECOND

    def is_loaded(self) -> bool:
        return self.lifecycle.loaded

    async def request(self, seconds: float = 0.0, keep_alive_seconds: float | None = None) -> int:
        keep_alive_ns = None if keep_alive_seconds is None else round(keep_alive_seconds * NS_PER_SECOND)
        async with self.lifecycle.use(keep_alive_ns) as load_ns:
            assert self.is_loaded()
            assert not self.engine.is_busy
            await asyncio.sleep(seconds)
        return load_ns

    async def unload(self) -> None:
        """Unload the idle model, and wait until it is out of memory."""
        self.lifecycle.unload_when_idle()
        while self.is_loaded():
            await self.changed.next_change.wait()


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def running_worker(
    keep_alive_seconds: float = DEFAULT_SECONDS,
    load_timeout_seconds: float = LOAD_TIMEOUT_SECONDS,
    pinned: bool = False,
    waiting_limit: int = 100,
    unused_seconds: float = 0.0,
) -> AsyncGenerator[Worker, None]:
    worker = Worker(keep_alive_seconds, load_timeout_seconds)
    worker.lifecycle.start(pinned=pinned, waiting_limit=waiting_limit, unused_seconds=unused_seconds)
    try:
        yield worker
    finally:
        await worker.lifecycle.stop()


TestBody = Callable[[], Coroutine[object, object, None]]


def in_virtual_time(body: TestBody) -> Callable[[], None]:
    """Run a test on an event loop whose clock advances only while every task waits."""

    def test() -> None:
        virtual_time.run(body())

    test.__name__ = body.__name__
    return test
