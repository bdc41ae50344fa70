"""A worker whose engine fails while it starts: a stand-in, since no real engine does so when asked."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.base import Engine
from engine_worker.frontend_server import CannotStart
from engine_worker.output.mailbox import Mailbox
from engine_worker.server import WorkerServer
from engine_worker.settings import WorkerSettings


class FailsInWarmUp:
    """Never answers its first request, and breaks down meanwhile."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.closed = False

    async def start(self) -> None: ...

    async def wait_failed(self) -> str:
        await self.asked.wait()
        return "its scheduler died"

    def model(self) -> pb.Model:
        return pb.Model(capabilities=pb.Capabilities(completion=True))

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.closed = True


async def test_an_engine_that_dies_in_its_warm_up_ends_the_start_at_once() -> None:
    engine = FailsInWarmUp()
    server = WorkerServer(cast("Engine", engine), WorkerSettings())
    async with asyncio.timeout(30):
        with pytest.raises(CannotStart, match="its scheduler died"):
            await server.startup()
    assert engine.closed


class Starts(FailsInWarmUp):
    """Writes down what the server asks for, in order."""

    def __init__(self, pinned: bool) -> None:
        super().__init__()
        self._pinned = pinned
        self.calls: list[str] = []

    async def start(self) -> None:
        self.calls.append("start")

    async def stop(self) -> None: ...

    def model(self) -> pb.Model:
        can = pb.Capabilities(completion=True)
        return pb.Model(names=["m"], pinned=self._pinned, capabilities=can)

    def load_report(self) -> pb.LoadReport:
        return pb.LoadReport(running_limit=1)

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        self.calls.append("warm up")


@pytest.mark.parametrize(
    ("pinned", "calls"),
    [
        (True, ["freeze", "start", "warm up", "freeze"]),
        # What is loaded later must be collected when it is unloaded.
        (False, ["freeze", "start", "warm up"]),
    ],
)
async def test_objects_that_stay_are_frozen_and_a_model_that_goes_is_not(
    pinned: bool, calls: list[str]
) -> None:
    engine = Starts(pinned)
    server = WorkerServer(cast("Engine", engine), WorkerSettings(), lambda: engine.calls.append("freeze"))
    await server.startup()
    await server.shutdown()
    assert engine.calls == calls
