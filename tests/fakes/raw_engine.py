"""A gRPC worker with a real server that reports as any other and answers requests with arbitrary bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc

from drover.v1 import engine_pb2 as pb
from tests.fakes.raw_server import serving_calls

Messages = Callable[[], Iterable[bytes]]


@dataclass
class RawEngine:
    """`messages`: the messages of each answer; `hangs`: the call stays open after them."""

    messages: Messages
    hangs: bool = False
    model: pb.Model = field(
        default_factory=lambda: pb.Model(
            names=["m"],
            digest="d",
            context_length=1024,
            capabilities=pb.Capabilities(completion=True, resume=True),
        )
    )
    report: bytes = field(default_factory=lambda: pb.LoadReport(running_limit=64).SerializeToString())
    report_pause_seconds: float = 0.05
    sent: int = 0
    """Bytes of answers that gRPC has taken."""
    reports: int = 0
    requests: int = 0
    address: str = ""

    async def generate(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self.requests += 1
        # A call that was cut off raises in whatever is written to it.
        with suppress(grpc.aio.InternalError):
            for message in self.messages():
                await context.write(message)
                self.sent += len(message)
        if self.hangs:
            await asyncio.Event().wait()

    async def watch(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        while True:
            await context.write(self.report)
            self.reports += 1
            await asyncio.sleep(self.report_pause_seconds)

    async def describe(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return self.model.SerializeToString()


@asynccontextmanager
async def serving(
    engine: RawEngine, more: Mapping[str, grpc.RpcMethodHandler[bytes, bytes]] | None = None
) -> AsyncIterator[RawEngine]:
    """`more`: calls in addition."""
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "GenerateStream": grpc.unary_stream_rpc_method_handler(engine.generate),
        "WatchLoad": grpc.unary_stream_rpc_method_handler(engine.watch),
        "GetModel": grpc.unary_unary_rpc_method_handler(engine.describe),
        **(more or {}),
    }
    async with serving_calls(handlers) as engine.address:
        yield engine
