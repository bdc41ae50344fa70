"""A worker over gRPC: one channel, one call per request, and the boundary for gRPC's errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import grpc

from drover.errors import DroverError, WorkerUnreachable
from drover.rpc import CHANNEL_OPTIONS, REQUEST_ID_METADATA_KEY, error_from_status, has_leaf
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from frontend.fleet.answer_check import broken
from frontend.fleet.cancelling import is_cancelled

if TYPE_CHECKING:
    from drover.v1.engine_pb2_grpc import EngineAsyncStub

    Call = grpc.aio.UnaryStreamCall[pb.GenerateRequest, pb.GenerateEvent]

Request = TypeVar("Request")
Message = TypeVar("Message")
_CONTROL_TIMEOUT_SECONDS = 10.0
_TOO_LARGE_FROM_WORKER = "CLIENT: Received message larger than max"
_SENSELESS = frozenset(
    {
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
    }
)


class GrpcWorker:
    """Implements frontend.fleet.base.Worker."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub: EngineAsyncStub = engine_pb2_grpc.EngineStub(self._channel)

    @property
    def address(self) -> str:
        return self._address

    @property
    def is_connected(self) -> bool:
        """gRPC answers pings though Python does nothing any more; one that gets no pong is not ready."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> GrpcHandle:
        return GrpcHandle(self._stub.GenerateStream(request, metadata=_metadata(client_request_id)))

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        return await _answer(self._stub.Embed(request, metadata=_metadata(client_request_id)))

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        return await _answer(self._stub.Render(pb.RenderRequest(request=request)))

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        return await _answer(self._stub.Tokenize(request))

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse:
        return await _answer(self._stub.Detokenize(request))

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        return await _answer(self._stub.Load(request))

    async def unload(self) -> pb.UnloadResponse:
        return await _answer(self._stub.Unload(pb.UnloadRequest(), timeout=_CONTROL_TIMEOUT_SECONDS))

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        request = pb.GetModelRequest(verbose=verbose)
        return await _answer(self._stub.GetModel(request, timeout=timeout_seconds))

    async def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        request = pb.WatchLoadRequest(interval_ms=round(interval_seconds * 1000))
        call = self._stub.WatchLoad(request)
        try:
            async with aclosing(_messages(call)) as reports:
                async for report in reports:
                    yield report
            raise WorkerUnreachable("the worker stopped reporting")
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()


class GrpcHandle:
    """Implements frontend.fleet.base.WorkerHandle."""

    __slots__ = ("_abandoned", "_call")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._abandoned: DroverError | None = None

    async def __aiter__(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        """The loop of `_messages`, written again: it is the hot path, and a generator more per event."""
        with _boundary(lambda: self._abandoned):
            while (message := await self._call.read()) is not grpc.aio.EOF:
                yield _read(cast(pb.GenerateEvent, message))
            await _check_whole(self._call)

    def abandon(self, error: DroverError) -> None:
        self._abandoned = self._abandoned or error
        self._call.cancel()

    def cancel(self) -> None:
        self._call.cancel()


def _metadata(client_request_id: str) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID_METADATA_KEY, client_request_id),)


async def _messages(call: grpc.aio.UnaryStreamCall[Request, Message]) -> AsyncGenerator[Message, None]:
    with _boundary():
        while (message := await call.read()) is not grpc.aio.EOF:
            yield _read(cast(Message, message))
        await _check_whole(call)


async def _check_whole(call: grpc.aio.UnaryStreamCall[Request, Message]) -> None:
    if await call.code() is not grpc.StatusCode.OK:
        raise WorkerUnreachable("the worker broke the stream off")


async def _answer(call: Awaitable[Message]) -> Message:
    """Cancelling the caller cancels the call."""
    with _boundary():
        return _read(await call)


@contextmanager
def _boundary(abandoned: Callable[[], DroverError | None] = lambda: None) -> Iterator[None]:
    """gRPC's errors as leaves. `abandoned`: what to say instead, where somebody gave the call up. A call
    whose channel is closed raises what a cancelled one does.
    """
    try:
        yield
    except grpc.aio.AioRpcError as failure:
        raise abandoned() or _leaf_of(failure) from failure
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        raise abandoned() or _closed() from None


def _leaf_of(failure: grpc.aio.AioRpcError) -> DroverError:
    """Nobody here has cancelled where a status says so: the other side, or the connection, has."""
    if failure.code() is grpc.StatusCode.CANCELLED:
        return _closed()
    if _is_senseless(failure):
        return broken(f"{failure.code().name}: {failure.details()}")
    return error_from_status(failure)


def _is_senseless(failure: grpc.aio.AioRpcError) -> bool:
    """A status that no worker of ours ends a call with, or a message that is larger than any answer's."""
    if has_leaf(failure):
        return False
    if failure.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _TOO_LARGE_FROM_WORKER in (failure.details() or "")
    return failure.code() in _SENSELESS


def _read(message: Message) -> Message:
    """grpc.aio gives None for a message that cannot be parsed, and goes on with the stream."""
    if message is None:
        raise broken("a message that cannot be parsed")
    return message


def _closed() -> WorkerUnreachable:
    return WorkerUnreachable("the connection to the worker was closed")
