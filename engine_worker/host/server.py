"""The life of a host: open the store, find workers again, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from drover import logs
from drover.exposure import warn_if_exposed
from drover.rpc import SERVER_OPTIONS
from drover.tls.fleet import fleet_certificates
from drover.tls.reload import Reloaded
from drover.v1 import host_pb2, host_pb2_grpc
from engine_worker.host.metrics import HostState
from engine_worker.host.models.base import Reader
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.embedded import put_embedded
from engine_worker.host.models.gguf import GgufReader
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.models.safetensors import SafetensorsReader
from engine_worker.host.models.simulated import SimulatedReader
from engine_worker.host.pool import Pool
from engine_worker.host.service import HostService
from engine_worker.host.settings import HostSettings
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.sources.pushes import Pushes
from engine_worker.host.store.local import local_address
from engine_worker.host.store.store import Store
from engine_worker.host.workers.workers import Events, Workers
from engine_worker.metrics import serve as serve_metrics
from engine_worker.tls import FrontendsOnly, server_credentials

_log = logging.getLogger("drover.host")
SERVICE_NAME = host_pb2.DESCRIPTOR.services_by_name["Host"].full_name
_CLOSE_SECONDS = 2.0
_MIB = 1 << 20
_DANGER = "can use, add and remove models; only frontends should, which --fleet-tls-certificate demands"


class CannotStart(Exception):
    """The host cannot start; the message says what is wrong and what to do."""


class HostServer:
    """One host process. Workers of one that was killed are found again by the next."""

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._health = health_aio.HealthServicer()
        files = settings.fleet_tls
        self._certificates = (
            None if files is None else Reloaded(files, "server", fleet_certificates, "frontends")
        )
        self._server = grpc.aio.server(options=SERVER_OPTIONS, interceptors=self._interceptors())
        self._ready = asyncio.Event()
        self.address = ""

    def stop(self) -> None:
        """As the signal does."""
        self._stop.set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def run(self) -> None:
        """Serve until a signal arrives. Raises CannotStart, StoreUnavailable."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        store = await asyncio.to_thread(Store, self._settings.store_folder, self._settings.disk_mib * _MIB)
        watching = (
            []
            if self._certificates is None
            else [asyncio.create_task(self._certificates.watch(), name="watch certificates")]
        )
        try:
            await self._serve(store)
        finally:
            for task in watching:
                task.cancel()
            store.close()

    async def _serve(self, store: Store) -> None:
        settings, folder = self._settings, self._settings.store_folder
        if settings.embedded_model:
            await asyncio.to_thread(put_embedded, store)
        readers, client = readers_of(store, settings.sglang_interpreter), SourceClient()
        catalog = Catalog(store, readers, LoadRecords(folder / "loads"), settings.models)
        await asyncio.to_thread(catalog.refresh)
        pool = Pool(
            catalog, _budget_bytes(settings), settings.min_residency_seconds, settings.replica_seconds
        )
        pool.workers = Workers(
            folder / "workers",
            settings,
            settings.python_for,
            Events(pool.on_child_changed, pool.on_child_ended),
        )
        sources = Sources(client, settings.allowed_sources, settings.addresses)
        creation = Creation(store, readers)
        pulls = Pulls(
            store, client, sources.source_of, creation.check, lambda: service.refresh(), pool.counts
        )
        pushes = Pushes(store, client, sources.registry_of)
        service = HostService(store.id, pool, store, creation, pulls, pushes)
        await self._listen(service)
        stop_metrics = self._serve_metrics(pool, store)
        pool.start()
        await self._health.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
        logs.event(
            _log,
            logging.INFO,
            "ready",
            address=self.address,
            store=str(folder),
            models=[model.name.short for model in catalog.models],
            memory_mib=pool.budget_bytes // _MIB,
        )
        self._ready.set()
        try:
            await self._stop.wait()
            if not settings.leave_workers:
                service.is_draining = True
                await self._health.set(SERVICE_NAME, health_pb2.HealthCheckResponse.NOT_SERVING)
                await pool.drain()
        finally:
            stop_metrics()
            service.close()
            await pulls.stop()
            await client.close()
            await self._server.stop(_CLOSE_SECONDS)
            await pool.stop()
            logs.event(_log, logging.INFO, "stopped", workers_left=len(pool.children))

    def _serve_metrics(self, pool: Pool, store: Store) -> Callable[[], None]:
        """Raises CannotStart. The returned function ends it."""
        address = self._settings.metrics_listen
        if not address:
            return lambda: None
        state = HostState(pool.gauges, lambda: store.blobs.used_bytes, asyncio.get_running_loop())
        try:
            stop = serve_metrics(address, state, pool.counts.registry)
        except OSError as error:
            raise CannotStart(f"cannot serve metrics on {address}: {error}") from error
        warn_if_exposed(_log, address, HostSettings.names_of("metrics_listen"), "can read the metrics")
        return stop

    async def _listen(self, service: HostService) -> None:
        host_pb2_grpc.add_HostServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [SERVICE_NAME, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], self._server)
        wanted = self._settings.listen
        try:
            port = self._add_port(wanted)
        except RuntimeError as error:
            raise CannotStart(
                f"cannot listen on {wanted}: is the port in use? Choose another with --listen host:port"
            ) from error
        self.address = f"{wanted.rpartition(':')[0]}:{port}"
        if local := local_address(self._settings.store_folder):
            self._server.add_insecure_port(local)
        await self._server.start()
        logs.event(_log, logging.INFO, "listening", address=self.address)
        if self._certificates is None:
            warn_if_exposed(_log, wanted, HostSettings.names_of("listen"), _DANGER)

    def _add_port(self, wanted: str) -> int:
        """Raises RuntimeError if the address cannot be used."""
        if self._certificates is None:
            return self._server.add_insecure_port(wanted)
        return self._server.add_secure_port(wanted, server_credentials(self._certificates))

    def _interceptors(self) -> Sequence[grpc.aio.ServerInterceptor]:
        if self._certificates is None:
            return []
        setting = "fleet_tls_frontend_names"
        return [FrontendsOnly(self._settings.fleet_tls_frontend_names, self._settings.flag(setting))]


def readers_of(store: Store, sglang_python: str) -> Sequence[Reader]:
    return [GgufReader(store), SafetensorsReader(store, sglang_python), SimulatedReader(store)]


def _budget_bytes(settings: HostSettings) -> int:
    if settings.memory_mib:
        return settings.memory_mib * _MIB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 4 // 5
