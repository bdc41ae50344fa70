"""Shared by tests of exchanges: a scripted worker, and responses as they are delivered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import WorkerHandle
from frontend.routing.backends.grpc.worker import GrpcWorker
from tests.fakes.scripted_exchange import ScriptedWorker, Stream, serving_script
from tests.support.waiting import until

SECONDS = 30.0


class Delivered:
    """A delivery in a task of its own. `busy`: what its sink returns next, or raises."""

    def __init__(self, handle: WorkerHandle) -> None:
        self.handle = handle
        self.events: list[pb.GenerateEvent] = []
        self.takers: list[asyncio.Task[object] | None] = []
        """The tasks in which the sink was called."""
        self.busy: Awaitable[object] | BaseException | None = None
        self.task = asyncio.create_task(handle.deliver(self.receive))

    def receive(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        self.takers.append(asyncio.current_task())
        self.events.append(event)
        busy, self.busy = self.busy, None
        if isinstance(busy, BaseException):
            raise busy
        return busy

    @property
    def text(self) -> str:
        return "".join(delta.content for event in self.events for delta in event.deltas)

    async def has(self, text: str) -> None:
        await until(lambda: self.text == text, SECONDS, f"it is {text!r}")

    async def ends(self) -> None:
        await asyncio.wait_for(self.task, SECONDS)

    async def fails(self, kind: type[BaseException]) -> BaseException:
        with pytest.raises(kind) as failed:
            await self.ends()
        assert type(failed.value) is kind
        return failed.value


class Pair:
    def __init__(self, scripted: ScriptedWorker, worker: GrpcWorker) -> None:
        self.scripted = scripted
        self.worker = worker

    def submit(self, raw: str = "p") -> WorkerHandle:
        return self.worker.submit(pb.GenerateRequest(request_id="r", raw=raw), "from-client")

    async def deliver(self, count: int) -> tuple[Stream, list[Delivered]]:
        """Of so many requests, numbers 1 and up, once the worker has them."""
        delivered = [Delivered(self.submit()) for _ in range(count)]
        stream = await self.scripted.stream()
        await stream.has(*range(1, count + 1))
        return stream, delivered


@asynccontextmanager
async def pairing(scripted: ScriptedWorker) -> AsyncIterator[Pair]:
    async with serving_script(scripted):
        worker = GrpcWorker(scripted.address)
        try:
            await worker.model(SECONDS)
            yield Pair(scripted, worker)
        finally:
            await worker.close()
