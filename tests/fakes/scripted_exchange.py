"""A gRPC worker with a real server: tests send its rows and read its orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc

from drover.v1 import engine_pb2 as pb
from tests.fakes.raw_server import serving_calls
from tests.fakes.stalling_worker import content, done
from tests.support.waiting import until

_SECONDS = 30.0


def row(number: int, event: pb.GenerateEvent) -> pb.Row:
    return pb.Row(number=number, event=event)


def failed(number: int, reason: str, message: str = "m", **numbers: int) -> pb.Row:
    return pb.Row(number=number, failure=pb.Failure(reason=reason, message=message, **numbers))


@dataclass
class Stream:
    """One call of Exchange."""

    context: grpc.aio.ServicerContext[bytes, bytes]
    submissions: dict[int, pb.Submission] = field(default_factory=dict)
    aborts: list[int] = field(default_factory=list)
    credits: list[pb.Credit] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    is_lost: bool = False

    async def send(self, *rows: pb.Row) -> None:
        """In one step."""
        await self.send_bytes(pb.Step(rows=rows).SerializeToString())

    async def send_bytes(self, message: bytes) -> None:
        await self.context.write(message)

    async def has(self, *numbers: int) -> None:
        await until(lambda: set(numbers) <= self.submissions.keys(), _SECONDS, f"{numbers} are here")

    async def has_aborted(self, *numbers: int) -> None:
        await until(lambda: set(numbers) <= set(self.aborts), _SECONDS, f"{numbers} are aborted")

    def end(self) -> None:
        """Without an error."""
        self.ends.set()

    def lose(self) -> None:
        """With the status of a connection that is gone."""
        self.is_lost = True
        self.ends.set()

    async def run(self) -> None:
        reading = asyncio.create_task(self._read())
        ending = asyncio.create_task(self.ends.wait())
        try:
            await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.over.set()
            reading.cancel()
            ending.cancel()
        if self.is_lost:
            await self.context.abort(grpc.StatusCode.UNAVAILABLE, "lost")

    async def _read(self) -> None:
        while isinstance(message := await self.context.read(), bytes):
            orders = pb.Orders.FromString(message)
            self.submissions |= {each.number: each for each in orders.submissions}
            self.aborts += orders.aborts
            self.credits += orders.credits


@dataclass
class ScriptedWorker:
    """`has_exchange`: whether it knows the call, whatever its model says. Requests with a call of their own
    get `own`.
    """

    has_exchange: bool = True
    model: pb.Model = field(default_factory=lambda: pb.Model(names=["m"], digest="d", exchange=True))
    own: Sequence[pb.GenerateEvent] = field(default_factory=lambda: (content("own"), done()))
    streams: list[Stream] = field(default_factory=list)
    own_requests: list[pb.GenerateRequest] = field(default_factory=list)
    address: str = ""

    async def stream(self, count: int = 1) -> Stream:
        """The newest, once there are so many."""
        await until(lambda: len(self.streams) >= count, _SECONDS, f"{count} streams are open")
        return self.streams[count - 1]

    async def exchange(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        stream = Stream(context)
        self.streams.append(stream)
        await stream.run()

    async def generate(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        self.own_requests.append(pb.GenerateRequest.FromString(request))
        with suppress(grpc.aio.InternalError):
            for event in self.own:
                await context.write(event.SerializeToString())

    async def describe(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return self.model.SerializeToString()


@asynccontextmanager
async def serving_script(worker: ScriptedWorker) -> AsyncIterator[ScriptedWorker]:
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "GenerateStream": grpc.unary_stream_rpc_method_handler(worker.generate),
        "GetModel": grpc.unary_unary_rpc_method_handler(worker.describe),
    }
    if worker.has_exchange:
        handlers["Exchange"] = grpc.stream_stream_rpc_method_handler(worker.exchange)
    async with serving_calls(handlers) as worker.address:
        yield worker
