"""A gRPC engine with a real server that stalls after the given events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import grpc

from drover.errors import DroverError
from drover.rpc import SERVER_OPTIONS, abort_with
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


class StallingEngine(engine_pb2_grpc.EngineServicer):
    """`error` ends a stream after `events`; `stalls` False ends it without a word."""

    def __init__(self) -> None:
        self.events: Sequence[pb.GenerateEvent] = ()
        self.error: DroverError | None = None
        self.stalls = True
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.requests: list[pb.GenerateRequest] = []
        self.embed_requests: list[pb.EmbedRequest] = []
        self.client_request_ids: list[str] = []
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def GenerateStream(  # type: ignore[override]  # it writes by itself
        self,
        request: pb.GenerateRequest,
        context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateEvent],
    ) -> None:
        self.requests.append(request)
        await self._stall(context, self.events)

    async def Embed(
        self,
        request: pb.EmbedRequest,
        context: grpc.aio.ServicerContext[pb.EmbedRequest, pb.EmbedResponse],
    ) -> pb.EmbedResponse:
        self.embed_requests.append(request)
        await self._stall(context)
        return pb.EmbedResponse(embeddings=[pb.Embedding(values=[0.5])], prompt_tokens=1)

    async def _stall(
        self, context: grpc.aio.ServicerContext[Request, Response], events: Sequence[Response] = ()
    ) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self.client_request_ids.append(str(metadata.get("x-request-id")))
        self.begun.set()
        try:
            for event in events:
                await context.write(event)
            if self.error is not None:
                await abort_with(context, self.error)
            if self.stalls:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def WatchLoad(  # type: ignore[override]  # it writes by itself
        self,
        request: pb.WatchLoadRequest,
        context: grpc.aio.ServicerContext[pb.WatchLoadRequest, pb.LoadReport],
    ) -> None:
        self.begun.set()
        try:
            await context.write(pb.LoadReport(running_limit=request.interval_ms))
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def GetModel(
        self,
        request: pb.GetModelRequest,
        context: grpc.aio.ServicerContext[pb.GetModelRequest, pb.Model],
    ) -> pb.Model:
        if self.error is not None:
            await abort_with(context, self.error)
        return pb.Model(names=["m:latest"])


@asynccontextmanager
async def stalling_engine() -> AsyncIterator[tuple[StallingEngine, grpc.aio.Server]]:
    engine = StallingEngine()  # type: ignore[abstract]  # generated servicers mark every method abstract
    server = grpc.aio.server(options=SERVER_OPTIONS)
    engine_pb2_grpc.add_EngineServicer_to_server(engine, server)
    engine.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield engine, server
    finally:
        await server.stop(None)
