"""The gRPC service drover.v1.Engine: run requests at the engine, return errors as statuses."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import grpc

from drover.concurrency import ChangeSignal
from drover.errors import CapabilityMissing, NoWorkerReady, WorkerDraining
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.adapter_host import AdapterHost, in_use
from engine_worker.calls import guarded, send
from engine_worker.engines.base import Engine
from engine_worker.engines.label_scores import check_items
from engine_worker.exchange import Exchange
from engine_worker.generations import Generations, keep_alive_ns, text_length, until_over
from engine_worker.model_lifecycle import ModelLifecycle
from engine_worker.output.mailbox import Mailbox
from engine_worker.request_log import BeginTrace, RequestLine, Trace, Traced, client_request_id, untraced
from engine_worker.requests import RequestTable
from engine_worker.text_work import check_length

_log = logging.getLogger("drover.worker")
_MIN_REPORT_INTERVAL_MS = 10
_DEFAULT_REPORT_INTERVAL_MS = 1000

if TYPE_CHECKING:
    # Only the generated stub's .pyi knows it.
    from drover.v1.engine_pb2_grpc import _ServicerContext as Context

Texts = TypeVar("Texts", pb.EmbedRequest, pb.RerankRequest, pb.ClassifyRequest)
Results = TypeVar("Results", pb.EmbedResponse, pb.RerankResponse, pb.ClassifyResponse)


class EngineService(engine_pb2_grpc.EngineServicer):
    """Implements drover.v1.Engine. `changed` is notified when watchers should get a report at once; `traces`
    begins the trace of a request; `manifest`: of the model in a host's store.
    """

    def __init__(
        self,
        engine: Engine,
        requests: RequestTable,
        lifecycle: ModelLifecycle,
        changed: ChangeSignal,
        adapters: AdapterHost | None = None,
        traces: BeginTrace = untraced,
        manifest: str = "",
    ) -> None:
        self._traces = traces
        self._engine = engine
        self._manifest = manifest
        self._requests = requests
        self._lifecycle = lifecycle
        self._changed = changed
        self._adapters = adapters
        self._generations = Generations(
            engine, requests, lifecycle, self._check_open, adapters, self._begin_trace
        )
        self._exchanges: set[Exchange] = set()
        self._draining = False
        self._closing = False
        self._watchers = 0
        self.ready = False

    def drain(self) -> None:
        """Refuse new requests."""
        self._draining = True
        self._changed.notify()

    def close(self) -> None:
        """End the load watchers and the exchanges."""
        self._closing = True
        for exchange in self._exchanges:
            exchange.close()
        self._changed.notify()

    # The streams write by themselves, which grpc.aio allows and the generated types do not know.
    async def GenerateStream(  # type: ignore[override]  # it writes by itself
        self,
        request: pb.GenerateRequest,
        context: grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateEvent],
    ) -> None:
        async def stream() -> None:
            mailbox = Mailbox()
            running = self._generations.run(request, client_request_id(context), mailbox)
            async with until_over(running, mailbox):
                while not mailbox.is_over:
                    await send(context, await mailbox.take())

        await guarded(context, stream, _log)

    async def Exchange(  # type: ignore[override]  # it writes by itself
        self, request_iterator: object, context: grpc.aio.ServicerContext[pb.Orders, pb.Step]
    ) -> None:
        exchange = Exchange(context, self._generations)

        async def run() -> None:
            self._check_started()
            self._exchanges.add(exchange)
            try:
                await exchange.run()
            finally:
                self._exchanges.discard(exchange)

        await guarded(context, run, _log)

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        return await self._prefilled(request, context, self._engine.embed)

    async def Rerank(self, request: pb.RerankRequest, context: Context) -> pb.RerankResponse:
        async def rerank(request: pb.RerankRequest) -> pb.RerankResponse:
            with in_use(self._adapters, request):
                return await self._engine.rerank(request)

        return await self._prefilled(request, context, rerank)

    async def Classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        return await self._prefilled(request, context, self._engine.classify)

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        line = RequestLine(request.request_id, client_request_id(context), self._begin_trace(request))

        async def score() -> pb.ScoreResponse:
            self._check_open()
            check_items(request)
            async with (
                self._requests.track(request.request_id or secrets.token_hex(16)),
                self._lifecycle.use(keep_alive_ns(request)) as load_ns,
            ):
                with in_use(self._adapters, request):
                    response = await self._engine.score(request)
            response.timings.load_ns += load_ns
            line.add_scores(response)
            return response

        return await guarded(context, score, _log, line.write)

    async def Tokenize(self, request: pb.TokenizeRequest, context: Context) -> pb.TokenizeResponse:
        async def tokenize() -> pb.TokenizeResponse:
            self._check_open()
            check_length(len(request.text.encode()))
            async with self._lifecycle.use():
                ids = await self._engine.tokenize(request.text, request.add_special)
            return pb.TokenizeResponse(ids=ids)

        return await guarded(context, tokenize, _log)

    async def Detokenize(self, request: pb.DetokenizeRequest, context: Context) -> pb.DetokenizeResponse:
        async def detokenize() -> pb.DetokenizeResponse:
            self._check_open()
            check_length(len(request.ids))
            async with self._lifecycle.use():
                return pb.DetokenizeResponse(text=await self._engine.detokenize(list(request.ids)))

        return await guarded(context, detokenize, _log)

    async def Render(self, request: pb.RenderRequest, context: Context) -> pb.RenderResponse:
        async def render() -> pb.RenderResponse:
            self._check_open()
            check_length(text_length(request.request))
            async with self._lifecycle.use():
                return await self._engine.render(request.request)

        return await guarded(context, render, _log)

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.Model:
        async def model() -> pb.Model:
            self._check_started()
            model = pb.Model()
            model.CopyFrom(self._engine.model())
            model.exchange = True
            model.manifest = self._manifest
            if self._adapters is not None:
                self._adapters.describe(model)
            if request.verbose:
                model.model_info_json = await self._engine.whole_model_info()
            return model

        return await guarded(context, model, _log)

    async def WatchLoad(  # type: ignore[override]  # it writes by itself
        self,
        request: pb.WatchLoadRequest,
        context: grpc.aio.ServicerContext[pb.WatchLoadRequest, pb.LoadReport],
    ) -> None:
        interval_ms = max(request.interval_ms or _DEFAULT_REPORT_INTERVAL_MS, _MIN_REPORT_INTERVAL_MS)

        async def watch() -> None:
            self._check_started()
            self._watchers += not request.monitor
            self._changed.notify()
            try:
                while not self._closing:
                    changed = self._changed.next_change
                    await send(context, self.report())
                    with suppress(TimeoutError):
                        await asyncio.wait_for(changed.wait(), interval_ms / 1000)
            finally:
                self._watchers -= not request.monitor
            raise WorkerDraining("the worker is shutting down")

        await guarded(context, watch, _log)

    async def Load(self, request: pb.LoadRequest, context: Context) -> pb.LoadResponse:
        async def load() -> pb.LoadResponse:
            self._check_open()
            async with self._lifecycle.use(keep_alive_ns(request)) as load_ns:
                pass
            return pb.LoadResponse(load_ns=load_ns, expires_unix_ns=self._lifecycle.expires_unix_ns)

        return await guarded(context, load, _log)

    async def Unload(self, request: pb.UnloadRequest, context: Context) -> pb.UnloadResponse:
        async def unload() -> pb.UnloadResponse:
            self._check_open()
            return pb.UnloadResponse(loaded=self._lifecycle.unload_when_idle())

        return await guarded(context, unload, _log)

    async def Abort(self, request: pb.AbortRequest, context: Context) -> pb.AbortResponse:
        return pb.AbortResponse(found=self._requests.abort(request.request_id))

    async def PutAdapter(
        self, request_iterator: AsyncIterator[pb.AdapterPart], context: Context
    ) -> pb.PutAdapterResponse:
        async def put() -> pb.PutAdapterResponse:
            self._check_open()
            return await self._require_adapters().put(aiter(request_iterator))

        return await guarded(context, put, _log)

    async def DeleteAdapter(
        self, request: pb.DeleteAdapterRequest, context: Context
    ) -> pb.DeleteAdapterResponse:
        async def delete() -> pb.DeleteAdapterResponse:
            self._check_open()
            return pb.DeleteAdapterResponse(found=self._require_adapters().delete(request.digest))

        return await guarded(context, delete, _log)

    def _require_adapters(self) -> AdapterHost:
        if self._adapters is None:
            raise CapabilityMissing(
                "this worker takes no adapters; start it with --adapters FOLDER to give it some"
            )
        return self._adapters

    def report(self) -> pb.LoadReport:
        report = self._engine.load_report()
        report.waiting += self._lifecycle.waiting
        report.draining = self._draining
        report.frontends = self._watchers
        report.loaded = self._lifecycle.loaded
        report.changing = self._lifecycle.is_changing
        report.expires_unix_ns = self._lifecycle.expires_unix_ns
        if self._adapters is not None:
            # An engine may return the same message each time.
            report.ClearField("adapters")
            report.adapters.extend(self._adapters.digests)
        return report

    async def _prefilled(
        self,
        request: Texts,
        context: grpc.aio.ServicerContext[Texts, Results],
        run: Callable[[Texts], Awaitable[Results]],
    ) -> Results:
        """Run a request whose texts are only prefilled, like a generation: counted, logged, with the model
        loaded.
        """
        line = RequestLine(request.request_id, client_request_id(context), self._begin_trace(request))

        async def prefilled() -> Results:
            self._check_open()
            async with (
                self._requests.track(request.request_id or secrets.token_hex(16)),
                self._lifecycle.use(keep_alive_ns(request)) as load_ns,
            ):
                response = await run(request)
            response.timings.load_ns += load_ns
            line.add_results(response)
            return response

        return await guarded(context, prefilled, _log, line.write)

    def _begin_trace(self, request: Traced) -> Trace | None:
        """None before the start, too, while the engine cannot say what it is."""
        return self._traces(request) if self.ready else None

    def _check_open(self) -> None:
        self._check_started()
        if self._draining:
            raise WorkerDraining("the worker is shutting down and takes no new requests")

    def _check_started(self) -> None:
        if not self.ready:
            raise NoWorkerReady("the worker is still loading its model")
