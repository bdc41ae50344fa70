"""A gRPC client of a worker, without the frontend."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc


class EngineClient:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub: engine_pb2_grpc.EngineAsyncStub = engine_pb2_grpc.EngineStub(channel)

    async def load(self) -> pb.LoadReport:
        """Exact counts of this moment."""
        call = self.stub.WatchLoad(pb.WatchLoadRequest(interval_ms=1000))
        try:
            report = await call.read()
            assert isinstance(report, pb.LoadReport)
            return report
        finally:
            call.cancel()

    async def busy(self) -> bool:
        return (await self.load()).running > 0

    async def idle(self) -> bool:
        report = await self.load()
        return report.running == 0 and report.waiting == 0

    def generate(
        self, request: pb.GenerateRequest
    ) -> grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateEvent]:
        request.request_id = secrets.token_hex(16)
        return self.stub.GenerateStream(request)

    async def text(self, request: pb.GenerateRequest) -> tuple[str, pb.Done]:
        content, done = "", pb.Done()
        async for event in self.generate(request):
            content += "".join(delta.content for delta in event.deltas)
            done = event.done
        return content, done


@asynccontextmanager
async def engine_client(address: str) -> AsyncIterator[EngineClient]:
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        yield EngineClient(channel)
