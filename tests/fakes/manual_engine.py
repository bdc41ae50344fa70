"""An engine whose output tests put into the mailboxes, in a service without a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import grpc

from drover.concurrency import ChangeSignal
from drover.errors import DroverError
from drover.rpc import SERVER_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.engines.base import Engine
from engine_worker.engines.simulator.option_ranges import BOUNDS
from engine_worker.model_lifecycle import ModelLifecycle
from engine_worker.output.mailbox import Mailbox
from engine_worker.requests import RequestTable
from engine_worker.service import EngineService


class ManualEngine:
    """`slots`: how many requests run at the same time; the others wait."""

    bounds = BOUNDS

    def __init__(self, slots: int = 64) -> None:
        self.mailboxes: dict[str, Mailbox] = {}
        """Of requests that run, by their ids."""
        self.freed: list[str] = []
        """Ids of requests that have left the engine, or its queue."""
        self.arrived: list[str] = []
        self._slots = asyncio.Semaphore(slots)
        self._ends: dict[str, asyncio.Future[None]] = {}

    def model(self) -> pb.Model:
        return pb.Model(
            names=["m"], digest="d", context_length=1 << 20, capabilities=pb.Capabilities(completion=True)
        )

    def load_report(self) -> pb.LoadReport:
        return pb.LoadReport(running_limit=64)

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        name = request.request_id
        self.arrived.append(name)
        try:
            async with self._slots:
                self.mailboxes[name] = mailbox
                self._ends[name] = asyncio.get_running_loop().create_future()
                await self._ends[name]
        finally:
            self.mailboxes.pop(name, None)
            self.freed.append(name)

    def end(self, name: str) -> None:
        """With what a test has put, and a `done`."""
        self.mailboxes[name].done(pb.Done(finish_reason=pb.Done.STOP, prompt_tokens=1, completion_tokens=1))
        self._ends[name].set_result(None)

    def fail(self, name: str, error: Exception) -> None:
        self._ends[name].set_exception(error)


class ManualWorker:
    """The service over it."""

    def __init__(self, slots: int = 64) -> None:
        self.engine = ManualEngine(slots)
        self.service, self.requests = service_over(self.engine, waiting_limit=64)

    def end_all(self, reason: DroverError) -> None:
        self.requests.end_all(reason)


def service_over(engine: object, waiting_limit: int) -> tuple[EngineService, RequestTable]:
    """Of as much of an engine as a test has. Its model is pinned, and it is ready."""
    requests, changed = RequestTable(), ChangeSignal()
    lifecycle = ModelLifecycle(cast("Engine", engine), -1, 0, changed)
    lifecycle.start(pinned=True, waiting_limit=waiting_limit)
    service = EngineService(cast("Engine", engine), requests, lifecycle, changed)
    service.ready = True
    return service, requests


@asynccontextmanager
async def listening(service: EngineService) -> AsyncIterator[str]:
    """Its address."""
    server = grpc.aio.server(options=SERVER_OPTIONS)
    engine_pb2_grpc.add_EngineServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
