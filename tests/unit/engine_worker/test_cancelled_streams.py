"""Streams whose client reads no more and then leaves.

`grpc.aio` raises nothing in a handler that waits in `yield` behind a full window: it is closed when it is
collected as garbage. The service's streams write for themselves, so that a cancel ends them at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import pytest

from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.engines.simulator.option_ranges import BOUNDS
from engine_worker.output.mailbox import Mailbox
from tests.fakes.manual_engine import listening, service_over

_EVENT_BYTES = 64 << 10
_POLL_SECONDS = 0.01
# A window is full when nothing was sent for so many polls.
_STILL_POLLS = 30
_SECONDS = 30.0


class Endless:
    """Says as much as it is let."""

    bounds = BOUNDS

    def __init__(self) -> None:
        self.said = 0
        self.closed = asyncio.Event()

    def model(self) -> pb.Model:
        return pb.Model(context_length=1 << 20)

    def load_report(self) -> pb.LoadReport:
        return pb.LoadReport()

    async def generate(self, request: pb.GenerateRequest, mailbox: Mailbox) -> None:
        try:
            while True:
                if not mailbox.ready:
                    self.said += 1
                    mailbox.content("x" * _EVENT_BYTES, (), self.said)
                await asyncio.sleep(0)
        finally:
            self.closed.set()


class Served:
    def __init__(self, engine: Endless) -> None:
        self.engine = engine
        self.service, self.requests = service_over(engine, waiting_limit=1)

    async def window_is_full(self) -> None:
        still, before = 0, -1
        async with asyncio.timeout(_SECONDS):
            while still < _STILL_POLLS:
                await asyncio.sleep(_POLL_SECONDS)
                still = still + 1 if self.engine.said == before > 0 else 0
                before = self.engine.said


@pytest.fixture
async def served() -> AsyncIterator[tuple[Served, engine_pb2_grpc.EngineAsyncStub]]:
    served = Served(Endless())
    async with (
        listening(served.service) as address,
        grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel,
    ):
        yield served, engine_pb2_grpc.EngineStub(channel)


async def test_a_cancel_behind_a_full_window_ends_the_request_at_once(
    served: tuple[Served, engine_pb2_grpc.EngineAsyncStub], caplog: pytest.LogCaptureFixture
) -> None:
    worker, stub = served
    call = stub.GenerateStream(pb.GenerateRequest(request_id="a" * 32))
    await call.read()
    await worker.window_is_full()
    assert len(worker.requests) == 1
    with caplog.at_level(logging.INFO):
        call.cancel()
        await asyncio.wait_for(worker.engine.closed.wait(), _SECONDS)
        assert await worker.requests.wait_empty(_SECONDS)
    (line,) = [record for record in caplog.records if record.name == "drover.worker.request"]
    assert "cancelled" in str(vars(line)).lower()


async def test_a_connection_that_is_gone_ends_it_too(
    served: tuple[Served, engine_pb2_grpc.EngineAsyncStub],
) -> None:
    worker, _ = served
    async with listening(worker.service) as address:
        channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        call = engine_pb2_grpc.EngineStub(channel).GenerateStream(pb.GenerateRequest(request_id="b" * 32))
        await call.read()
        await worker.window_is_full()
        await channel.close()
        await asyncio.wait_for(worker.engine.closed.wait(), _SECONDS)
        assert await worker.requests.wait_empty(_SECONDS)
