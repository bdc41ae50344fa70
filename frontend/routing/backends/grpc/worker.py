"""A worker over gRPC: one channel, and on it one stream for all requests."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar, cast

import grpc

from drover import logs
from drover.errors import WorkerUnreachable
from drover.rpc import CHANNEL_OPTIONS, REQUEST_ID_METADATA_KEY
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from frontend.routing.backends.base import WorkerHandle
from frontend.routing.backends.grpc.boundary import boundary, check_whole, read
from frontend.routing.backends.grpc.exchange import Exchange
from frontend.routing.backends.grpc.generate_stream import GenerateStreamHandle
from frontend.routing.backends.grpc.tls import FleetTls

if TYPE_CHECKING:
    from drover.v1.engine_pb2_grpc import EngineAsyncStub

_log = logging.getLogger("drover.fleet")
Request = TypeVar("Request")
Message = TypeVar("Message")
_CONTROL_TIMEOUT_SECONDS = 10.0
# A larger request would delay those behind it on the exchange.
_MAX_SHARED_BYTES = 1024 * 1024
# Of gRPC's descriptions of a connection that ended in the handshake, and of the worker's refusal of a name.
_TLS_FAILURES = (
    "andshake failed",
    "erification check failed",
    "failed to connect to all addresses; last error: UNAVAILABLE",
    "refuses this frontend",
)
_PERHAPS_TLS = (
    "the worker closed the connection at once: if it demands TLS, give this frontend --fleet-tls-certificate"
)


class GrpcWorker:
    """Implements frontend.routing.backends.base.Worker. Without `tls` the connection is not encrypted."""

    def __init__(self, address: str, tls: FleetTls | None = None) -> None:
        self._address = address
        self._tls = tls
        self._problem = ""
        self._exchange: Exchange | None = None
        self._has_exchange = False
        self._open_channel()

    @property
    def address(self) -> str:
        return self._address

    @property
    def is_connected(self) -> bool:
        """gRPC answers pings even when Python does not run. A channel without pongs is not READY."""
        return self._channel.get_state() is grpc.ChannelConnectivity.READY

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> WorkerHandle:
        if self._has_exchange and request.ByteSize() <= _MAX_SHARED_BYTES:
            return self._open_exchange().submit(request, client_request_id)
        return GenerateStreamHandle(self._stub.GenerateStream(request, metadata=_metadata(client_request_id)))

    async def embed(self, request: pb.EmbedRequest, client_request_id: str) -> pb.EmbedResponse:
        return await _unary(self._stub.Embed(request, metadata=_metadata(client_request_id)))

    async def score(self, request: pb.ScoreRequest, client_request_id: str) -> pb.ScoreResponse:
        return await _unary(self._stub.Score(request, metadata=_metadata(client_request_id)))

    async def rerank(self, request: pb.RerankRequest, client_request_id: str) -> pb.RerankResponse:
        return await _unary(self._stub.Rerank(request, metadata=_metadata(client_request_id)))

    async def classify(self, request: pb.ClassifyRequest, client_request_id: str) -> pb.ClassifyResponse:
        return await _unary(self._stub.Classify(request, metadata=_metadata(client_request_id)))

    async def render(self, request: pb.GenerateRequest) -> pb.RenderResponse:
        return await _unary(self._stub.Render(pb.RenderRequest(request=request)))

    async def tokenize(self, request: pb.TokenizeRequest) -> pb.TokenizeResponse:
        return await _unary(self._stub.Tokenize(request))

    async def detokenize(self, request: pb.DetokenizeRequest) -> pb.DetokenizeResponse:
        return await _unary(self._stub.Detokenize(request))

    async def load(self, request: pb.LoadRequest) -> pb.LoadResponse:
        return await _unary(self._stub.Load(request))

    async def unload(self) -> pb.UnloadResponse:
        return await _unary(self._stub.Unload(pb.UnloadRequest(), timeout=_CONTROL_TIMEOUT_SECONDS))

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        await self._renew_channel()
        request = pb.GetModelRequest(verbose=verbose)
        try:
            model = await _unary(self._stub.GetModel(request, timeout=timeout_seconds))
        except WorkerUnreachable as error:
            raise await self._explained(error) from error
        self._problem = ""
        self._has_exchange = model.exchange
        return model

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

    async def put_adapter(self, parts: AsyncIterator[pb.AdapterPart]) -> pb.PutAdapterResponse:
        return await _unary(self._stub.PutAdapter(parts))

    async def delete_adapter(self, digest: str) -> None:
        request = pb.DeleteAdapterRequest(digest=digest)
        await _unary(self._stub.DeleteAdapter(request, timeout=_CONTROL_TIMEOUT_SECONDS))

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()
        await self._channel.close()

    def _open_channel(self) -> None:
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=CHANNEL_OPTIONS)
        else:
            self._channel = self._tls.channel(self._address)
            self._version = self._tls.version
        self._stub: EngineAsyncStub = engine_pb2_grpc.EngineStub(self._channel)

    async def _renew_channel(self) -> None:
        """Use new certificates for a new connection; an open one keeps its own, and its streams."""
        if self._tls is None or self._version == self._tls.version or self.is_connected:
            return
        old, exchange = self._channel, self._exchange
        self._exchange = None
        self._open_channel()
        if exchange is not None:
            await exchange.close()
        await old.close()

    async def _explained(self, error: WorkerUnreachable) -> WorkerUnreachable:
        """The error with what is wrong with a certificate, if that is the reason, which is logged once."""
        if not any(text in error.message for text in _TLS_FAILURES):
            return error
        problem = await self._tls.explain(self._address) if self._tls is not None else _PERHAPS_TLS
        problem = problem or error.message
        if problem != self._problem:
            self._problem = problem
            logs.event(_log, logging.ERROR, "no connection to a worker", worker=self._address, reason=problem)
        return WorkerUnreachable(problem)

    def _open_exchange(self) -> Exchange:
        if self._exchange is None or self._exchange.is_over:
            self._exchange = Exchange(self._stub, self._address, self._on_exchange_missing)
        return self._exchange

    def _on_exchange_missing(self) -> None:
        """The worker was replaced by one of an earlier version."""
        self._has_exchange = False


def _metadata(client_request_id: str) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID_METADATA_KEY, client_request_id),)


async def _messages(call: grpc.aio.UnaryStreamCall[Request, Message]) -> AsyncGenerator[Message, None]:
    with boundary():
        while (message := await call.read()) is not grpc.aio.EOF:
            yield read(cast(Message, message))
        await check_whole(call)


async def _unary(call: Awaitable[Message]) -> Message:
    """Cancelling the caller cancels the call."""
    with boundary():
        return read(await call)
