"""The life of a worker: start up, serve, drain, shut down."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from drover import logs
from drover.concurrency import ChangeSignal
from drover.errors import DroverError, EngineFailed, WorkerDraining
from drover.exposure import warn_if_exposed
from drover.rpc import SERVER_OPTIONS, SERVICE_NAME
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.adapter_host import AdapterHost, AdapterLimits
from engine_worker.adapters.named import adapter_at, find_named
from engine_worker.engine_metrics import EngineMetrics
from engine_worker.engines.base import Engine
from engine_worker.frontend_server import CannotStart, FrontendServer
from engine_worker.metrics import WorkerMetrics
from engine_worker.metrics import serve as serve_metrics
from engine_worker.model_lifecycle import ModelLifecycle
from engine_worker.output.mailbox import Mailbox
from engine_worker.request_log import BeginTrace, Trace, Traced, untraced
from engine_worker.requests import RequestTable
from engine_worker.service import EngineService
from engine_worker.settings import WorkerSettings

if TYPE_CHECKING:
    from drover.tracing.tracing import Tracing

_log = logging.getLogger("drover.worker")
_CLOSE_SECONDS = 2.0
_WARM_UP_SECONDS = 600.0
# A host's worker keeps its model at least so long for its first request: frontends have to connect.
_FIRST_USE_SECONDS = 10.0
_DANGER = "can use the model and end requests; only frontends should, which --fleet-tls-certificate demands"


class WorkerServer:
    """One worker process: its engine, its gRPC server and its metrics server.

    `freeze_objects` is called when the objects so far will stay: after the imports, and after loading a model
    that is never unloaded. A full garbage collection stops all streams (0.8 s with SGLang). `tracing`: None
    where it is off.
    """

    def __init__(
        self,
        engine: Engine,
        settings: WorkerSettings,
        freeze_objects: Callable[[], None] = lambda: None,
        tracing: Tracing | None = None,
    ) -> None:
        self._engine = engine
        self._freeze_objects = freeze_objects
        self._settings = settings
        self._requests = RequestTable()
        changed = ChangeSignal()
        self._lifecycle = ModelLifecycle(
            engine, settings.keep_alive_ns, settings.load_timeout_seconds, changed
        )
        self._adapters = _adapter_host(engine, self._lifecycle, settings, changed)
        traces = untraced if tracing is None else _traces(tracing, engine)
        self._service = EngineService(
            engine, self._requests, self._lifecycle, changed, self._adapters, traces, settings.manifest
        )
        self._server = FrontendServer(
            SERVICE_NAME,
            settings.fleet_tls,
            settings.fleet_tls_frontend_names,
            settings.flag("fleet_tls_frontend_names"),
        )
        self._probes: grpc.aio.Server | None = None
        self._stop = asyncio.Event()
        self._failure = ""
        self._stop_metrics: Callable[[], None] | None = None
        self.address = ""

    async def run(self) -> int:
        """Serve until a signal arrives or the engine fails; return the exit status."""
        self._take_signals()
        try:
            async with self._server.reloading():
                await self._listen()
                if not await self._unless_stopped(self.startup()):
                    return 0
                return await self._serve()
        finally:
            await self.shutdown()

    def _take_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def _unless_stopped(self, work: Coroutine[object, object, None]) -> bool:
        """Run `work`; False if a signal cancelled it. Loading a model can take minutes."""
        doing = asyncio.create_task(work, name="start up")
        stop = asyncio.create_task(self._stop.wait(), name="wait for a signal")
        await asyncio.wait({doing, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if doing.done():
            doing.result()
            return True
        doing.cancel()
        await asyncio.wait({doing})
        return False

    async def startup(self) -> None:
        """Load the model and warm up, then report the service as serving."""
        self._freeze_objects()
        try:
            await self._engine.start()
            # SGLang replaces the signal handlers.
            self._take_signals()
            async with asyncio.timeout(_WARM_UP_SECONDS):
                await self._unless_engine_fails(self._warm_up())
        except TimeoutError:
            raise CannotStart(f"the model did not answer within {_WARM_UP_SECONDS:.0f} s") from None
        except (ValueError, RuntimeError, OSError, DroverError) as error:
            raise CannotStart(f"the {self._settings.engine} engine did not start: {error}") from error
        model = self._engine.model()
        if model.pinned:
            self._freeze_objects()
        running_limit = self._engine.load_report().running_limit
        self._lifecycle.start(
            pinned=model.pinned,
            waiting_limit=running_limit + self._settings.queue_limit,
            unused_seconds=_FIRST_USE_SECONDS if self._settings.manifest else 0.0,
        )
        if self._adapters is not None:
            await self._start_adapters(self._adapters)
        self._service.ready = True
        self._serve_metrics(list(model.names))
        await self._server.set_serving(True)
        logs.event(
            _log,
            logging.INFO,
            "ready",
            address=self.address,
            engine=model.engine_kind,
            names=list(model.names),
            digest=model.digest[:12],
            context_length=model.context_length,
            running_limit=running_limit,
        )

    async def _start_adapters(self, adapters: AdapterHost) -> None:
        try:
            await adapters.start()
        except OSError as error:
            raise CannotStart(f"--adapters {self._settings.adapters}: {error.strerror}") from error
        folder, applied = self._settings.named_adapters, self._settings.applied_adapter
        try:
            if folder:
                await adapters.hold(await asyncio.to_thread(find_named, Path(folder)))
        except (OSError, DroverError) as error:
            raise CannotStart(f"--named-adapters {folder}: {error}") from error
        try:
            if applied:
                await adapters.apply(await asyncio.to_thread(adapter_at, Path(applied), "adapter"))
        except (OSError, DroverError) as error:
            raise CannotStart(f"--applied-adapter {applied}: {error}") from error

    def _serve_metrics(self, names: list[str]) -> None:
        if not self._settings.metrics_listen:
            return
        loop = asyncio.get_running_loop()
        metrics = WorkerMetrics(names, self._service.report, loop)
        of_engine = EngineMetrics(names[0] if names else "", self._engine.own_metrics, loop)
        try:
            self._stop_metrics = serve_metrics(self._settings.metrics_listen, metrics, of_engine)
        except OSError as error:
            raise CannotStart(f"cannot serve metrics on {self._settings.metrics_listen}: {error}") from error
        self._warn_if_exposed("metrics_listen", self._settings.metrics_listen, "can read the metrics")

    def _warn_if_exposed(self, setting: str, address: str, danger: str) -> None:
        warn_if_exposed(_log, address, self._settings.names_of(setting), danger)

    async def _unless_engine_fails(self, work: Coroutine[object, object, None]) -> None:
        """Run `work`. Raises RuntimeError with the reason if the engine fails meanwhile."""
        doing = asyncio.create_task(work, name="warm up")
        failed = asyncio.create_task(self._engine.wait_failed(), name="watch the engine")
        try:
            await asyncio.wait({doing, failed}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise RuntimeError(failed.result())
            doing.result()
        finally:
            doing.cancel()
            failed.cancel()
            await asyncio.wait({doing, failed}, timeout=_CLOSE_SECONDS)

    async def drain(self) -> None:
        """Report not ready, let running requests finish within the drain timeout, then fail the rest."""
        self._service.drain()
        await self._server.set_serving(False)
        grace_seconds = self._settings.drain_grace_seconds
        if len(self._requests):
            logs.event(
                _log, logging.INFO, "draining", requests=len(self._requests), grace_seconds=grace_seconds
            )
        if not await self._requests.wait_empty(grace_seconds):
            ended = self._requests.end_all(
                WorkerDraining("the worker is shutting down: drain timeout reached")
            )
            logs.event(_log, logging.WARNING, "drain timeout reached", ended_requests=ended)
            await self._requests.wait_empty(_CLOSE_SECONDS)

    async def shutdown(self) -> None:
        if self._stop_metrics is not None:
            # In a thread: it waits for a running scrape, which may wait for this loop.
            await asyncio.to_thread(self._stop_metrics)
        self._service.close()
        await self._server.grpc.stop(_CLOSE_SECONDS)
        if self._probes is not None:
            await self._probes.stop(None)
        if self._adapters is not None:
            await self._adapters.stop()
        await self._lifecycle.stop()
        await self._engine.stop()
        if self._failure:
            logs.event(_log, logging.ERROR, "stopped: the engine failed", reason=self._failure)
        else:
            logs.event(_log, logging.INFO, "stopped")

    async def _listen(self) -> None:
        engine_pb2_grpc.add_EngineServicer_to_server(self._service, self._server.grpc)
        wanted = self._settings.listen
        self.address = self._server.bind(wanted)
        if self._settings.host_listen:
            self._server.grpc.add_insecure_port(self._settings.host_listen)
        await self._server.health.set("", health_pb2.HealthCheckResponse.SERVING)
        await self._server.set_serving(False)
        await self._server.grpc.start()
        await self._serve_probes()
        logs.event(_log, logging.INFO, "listening", address=self.address)
        if self._server.serves_any_client:
            self._warn_if_exposed("listen", wanted, _DANGER)

    async def _serve_probes(self) -> None:
        """Serve health checks on an address of their own."""
        address = self._settings.health_listen
        if not address:
            return
        self._probes = grpc.aio.server(options=SERVER_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self._server.health, self._probes)
        try:
            self._probes.add_insecure_port(address)
        except RuntimeError as error:
            raise CannotStart(
                f"cannot serve health checks on {address}: is the port in use? Choose another with "
                "--health-listen host:port"
            ) from error
        await self._probes.start()

    async def _serve(self) -> int:
        stop = asyncio.create_task(self._stop.wait(), name="wait for a signal")
        failed = asyncio.create_task(self._engine.wait_failed(), name="watch the engine")
        try:
            await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
            if failed.done():
                await self._end_failed(failed.result())
                return 1
            await self.drain()
            return 0
        finally:
            stop.cancel()
            failed.cancel()

    async def _end_failed(self, reason: str) -> None:
        """The engine failed: fail its requests, so that frontends fail over, and end the process."""
        self._service.drain()
        await self._server.set_serving(False)
        self._failure = reason
        ended = self._requests.end_all(EngineFailed(f"the engine failed: {reason}"))
        logs.event(_log, logging.ERROR, "the engine failed", reason=reason, ended_requests=ended)
        await self._requests.wait_empty(_CLOSE_SECONDS)

    async def _warm_up(self) -> None:
        can, text = self._engine.model().capabilities, "warm-up"
        if can.completion:
            sampling = pb.Sampling(max_tokens=1, temperature=0)
            request = pb.GenerateRequest(request_id=secrets.token_hex(16), raw=text, sampling=sampling)
            await self._engine.generate(request, Mailbox())
        elif can.embedding:
            await self._engine.embed(pb.EmbedRequest(texts=[text]))
        elif can.rerank:
            await self._engine.rerank(pb.RerankRequest(queries=[text], documents=[text]))
        elif can.classify:
            await self._engine.classify(pb.ClassifyRequest(inputs=[pb.ClassifyInput(text=text)]))


def _adapter_host(
    engine: Engine, lifecycle: ModelLifecycle, settings: WorkerSettings, changed: ChangeSignal
) -> AdapterHost | None:
    """None for a worker that takes no adapters."""
    if not settings.adapters:
        for flag in ("named_adapters", "applied_adapter"):
            if getattr(settings, flag):
                raise CannotStart(
                    f"{settings.flag(flag)} needs --adapters FOLDER, where the worker keeps its copies"
                )
        return None
    limits = AdapterLimits(settings.max_adapters, settings.adapters_mib << 20, settings.max_adapter_rank)
    return AdapterHost(engine, lifecycle, Path(settings.adapters), limits, changed)


def _traces(tracing: Tracing, engine: Engine) -> BeginTrace:
    # Imported here: it imports OpenTelemetry, which a process without traces does not load.
    from engine_worker.request_trace import RequestTrace

    def begin(request: Traced) -> Trace | None:
        model = engine.model()
        return RequestTrace(tracing, request, model.engine_kind, model.names[0] if model.names else "")

    return begin
