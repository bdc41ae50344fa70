"""The gRPC service: hands requests to the engine, and errors back as statuses."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, TypeVar

import grpc

from drover.errors import (
    ClientLeft,
    DroverError,
    InternalError,
    InvalidRequest,
    NoWorkerReady,
    WorkerDraining,
)
from drover.rpc import abort_with
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.bell import Bell
from engine_worker.engines.base import Engine
from engine_worker.request_log import RequestLine
from engine_worker.requests import RequestTable
from engine_worker.residency import Residency
from engine_worker.text_work import check_length

_log = logging.getLogger("drover.worker")
_MIN_REPORT_INTERVAL_MS = 10
_DEFAULT_REPORT_INTERVAL_MS = 1000

if TYPE_CHECKING:
    # Only the generated stub's .pyi knows it.
    from drover.v1.engine_pb2_grpc import _ServicerContext as Context

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")


class EngineService(engine_pb2_grpc.EngineServicer):
    """`changed` rings when watchers should have a report at once."""

    def __init__(self, engine: Engine, requests: RequestTable, residency: Residency, changed: Bell) -> None:
        self._engine = engine
        self._requests = requests
        self._residency = residency
        self._changed = changed
        self._draining = False
        self._closing = False
        self._watchers = 0
        self.ready = False

    def drain(self) -> None:
        """No new requests."""
        self._draining = True
        self._changed.ring()

    def close(self) -> None:
        """Ends the watchers."""
        self._closing = True
        self._changed.ring()

    # Both streams write for themselves, which grpc.aio allows and the generated types do not know.
    async def GenerateStream(  # type: ignore[override]
        self,
        request: pb.GenerateRequest,
        context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateEvent],
    ) -> None:
        line = RequestLine.of(request, context)

        async def stream() -> None:
            self._accepts(request)
            clamped = self._engine.bounds.apply(request, self._engine.model())
            async with (
                self._requests.hold(request.request_id),
                self._residency.use(_keep_alive_ns(request)) as load_ns,
                aclosing(self._engine.generate(request)) as events,
            ):
                async for event in events:
                    if clamped and event.HasField("started"):
                        event.started.not_honoured.extend(clamped)
                    if event.HasField("done"):
                        event.done.timings.load_ns += load_ns
                    line.saw(event)
                    await _send(context, event)

        await _guarded(context, stream, line)

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        line = RequestLine.of(request, context)

        async def embed() -> pb.EmbedResponse:
            self._check_open()
            async with (
                self._requests.hold(request.request_id or secrets.token_hex(16)),
                self._residency.use(_keep_alive_ns(request)) as load_ns,
            ):
                response = await self._engine.embed(request)
            response.timings.load_ns += load_ns
            line.saw_embeddings(response)
            return response

        return await _guarded(context, embed, line)

    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        async def tokenize() -> pb.TokenizeResponse:
            self._check_open()
            check_length(len(request.text.encode()))
            async with self._residency.use():
                ids = await self._engine.tokenize(request.text, request.add_special)
            return pb.TokenizeResponse(ids=ids)

        return await _guarded(context, tokenize)

    async def Detokenize(self, request: pb.DetokenizeRequest, context: Context) -> pb.DetokenizeResponse:
        async def detokenize() -> pb.DetokenizeResponse:
            self._check_open()
            check_length(len(request.ids))
            async with self._residency.use():
                return pb.DetokenizeResponse(text=await self._engine.detokenize(list(request.ids)))

        return await _guarded(context, detokenize)

    async def Render(self, request: pb.RenderRequest, context: Context) -> pb.RenderResponse:
        async def render() -> pb.RenderResponse:
            self._check_open()
            check_length(_text_length(request.request))
            async with self._residency.use():
                return await self._engine.render(request.request)

        return await _guarded(context, render)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.Model:
        async def model() -> pb.Model:
            self._check_started()
            if not request.verbose:
                return self._engine.model()
            model = pb.Model()
            model.CopyFrom(self._engine.model())
            model.model_info_json = await self._engine.whole_model_info()
            return model

        return await _guarded(context, model)

    async def WatchLoad(  # type: ignore[override]
        self,
        request: pb.WatchLoadRequest,
        context: grpc.aio.ServicerContext[pb.WatchLoadRequest, pb.LoadReport],
    ) -> None:
        interval_ms = max(request.interval_ms or _DEFAULT_REPORT_INTERVAL_MS, _MIN_REPORT_INTERVAL_MS)

        async def watch() -> None:
            self._check_started()
            self._watchers += 1
            self._changed.ring()
            try:
                while not self._closing:
                    ring = self._changed.next_ring
                    await _send(context, self.report())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(ring.wait(), interval_ms / 1000)
            finally:
                self._watchers -= 1
            raise WorkerDraining("the worker is shutting down")

        await _guarded(context, watch)

    async def Load(self, request: pb.LoadRequest, context: Context) -> pb.LoadResponse:
        async def load() -> pb.LoadResponse:
            self._check_open()
            async with self._residency.use(_keep_alive_ns(request)) as load_ns:
                pass
            return pb.LoadResponse(load_ns=load_ns, expires_unix_ns=self._residency.expires_unix_ns)

        return await _guarded(context, load)

    async def Unload(self, request: pb.UnloadRequest, context: Context) -> pb.UnloadResponse:
        async def unload() -> pb.UnloadResponse:
            self._check_open()
            return pb.UnloadResponse(loaded=self._residency.let_go())

        return await _guarded(context, unload)

    async def Abort(self, request: pb.AbortRequest, context: Context) -> pb.AbortResponse:
        return pb.AbortResponse(found=self._requests.abort(request.request_id))

    def report(self) -> pb.LoadReport:
        report = self._engine.load_report()
        report.waiting += self._residency.waiting
        report.draining = self._draining
        report.frontends = self._watchers
        report.loaded = self._residency.loaded
        report.expires_unix_ns = self._residency.expires_unix_ns
        return report

    def _accepts(self, request: pb.GenerateRequest) -> None:
        self._check_open()
        check_length(_text_length(request))
        if not request.request_id:
            raise InvalidRequest("request_id is empty; make one of 32 hex digits for each attempt")
        if request.sampling.HasField("max_tokens") and request.sampling.max_tokens == 0:
            raise InvalidRequest("max_tokens is 0; leave it out for no limit")

    def _check_open(self) -> None:
        self._check_started()
        if self._draining:
            raise WorkerDraining("the worker is shutting down and takes no new requests")

    def _check_started(self) -> None:
        if not self.ready:
            raise NoWorkerReady("the worker is still loading its model")


def _keep_alive_ns(request: pb.GenerateRequest | pb.EmbedRequest | pb.LoadRequest) -> int | None:
    return request.keep_alive_ns if request.HasField("keep_alive_ns") else None


def _text_length(request: pb.GenerateRequest) -> int:
    """Bytes of what is to be rendered and tokenised; images are none."""
    prompt = request.prompt
    images = [*prompt.images, *(image for message in request.chat.messages for image in message.images)]
    return request.ByteSize() - sum(len(image.data) for image in images)


async def _send(context: grpc.aio.ServicerContext[Request, Response], message: Response) -> None:
    """Raises ClientLeft where gRPC knows already, and has not told us yet, that nobody is there any more."""
    try:
        await context.write(message)
    except grpc.aio.InternalError as unsent:
        raise ClientLeft("cancelled") from unsent


async def _guarded(
    context: grpc.aio.ServicerContext[Request, Response],
    work: Callable[[], Awaitable[Result]],
    line: RequestLine | None = None,
) -> Result:
    """The one boundary: leaves become statuses, cancellation passes, everything else is our fault."""
    error: DroverError | None = None
    try:
        return await work()
    except asyncio.CancelledError:
        error = ClientLeft("cancelled")
        raise
    except DroverError as leaf:
        error = leaf
        await abort_with(context, leaf)
    except Exception as exception:  # noqa: BLE001 - the last resort: a status instead of a traceback
        _log.exception("a request failed in a way that nobody foresaw")
        error = InternalError(f"internal error: {type(exception).__name__}")
        await abort_with(context, error)
    finally:
        if line is not None:
            line.write(error)
