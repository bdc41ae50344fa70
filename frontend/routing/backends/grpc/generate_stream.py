"""A generation with an RPC of its own (GenerateStream): for workers without Exchange, and large requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import grpc

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import EventSink
from frontend.routing.backends.grpc.boundary import boundary, check_whole, read
from frontend.routing.backends.grpc.event_check import broken

if TYPE_CHECKING:
    StreamCall = grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateEvent]

_END_SECONDS = 5.0


class GenerateStreamHandle:
    """Implements frontend.routing.backends.base.WorkerHandle."""

    __slots__ = ("_abandoned", "_call")

    def __init__(self, call: StreamCall) -> None:
        self._call = call
        self._abandoned: DroverError | None = None

    async def deliver(self, sink: EventSink) -> None:
        """Raises ProtocolBroken, too, if the call does not end soon after `done`."""
        limit = asyncio.timeout(None)
        with boundary(lambda: self._abandoned):
            try:
                async with limit:
                    await self._deliver(sink, limit)
            except TimeoutError:
                if limit.expired():
                    raise broken("the call did not end after done") from None
                raise

    async def _deliver(self, sink: EventSink, limit: asyncio.Timeout) -> None:
        while (message := await self._call.read()) is not grpc.aio.EOF:
            event = read(cast(pb.GenerateEvent, message))
            if (busy := sink(event)) is not None:
                await busy
            if event.HasField("done"):
                limit.reschedule(asyncio.get_running_loop().time() + _END_SECONDS)
        await check_whole(self._call)

    def abandon(self, error: DroverError) -> None:
        self._abandoned = self._abandoned or error
        self._call.cancel()

    def cancel(self) -> None:
        self._call.cancel()
