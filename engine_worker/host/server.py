"""The life of a host: open the store, find workers again, serve, drain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence

from drover import logs
from drover.exposure import warn_if_exposed
from drover.memory import trim_after_load
from drover.v1 import host_pb2, host_pb2_grpc
from engine_worker.frontend_server import CannotStart, FrontendServer
from engine_worker.host.memory.gpus import Gpus
from engine_worker.host.memory.machine import machine_bytes
from engine_worker.host.memory.nvml import open_gpus
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
from engine_worker.host.states import HostStates
from engine_worker.host.store.local import local_address
from engine_worker.host.store.store import Store
from engine_worker.host.workers.child import Events
from engine_worker.host.workers.workers import Workers
from engine_worker.metrics import serve as serve_metrics

_log = logging.getLogger("drover.host")
SERVICE_NAME = host_pb2.DESCRIPTOR.services_by_name["Host"].full_name
_CLOSE_SECONDS = 2.0
_MIB = 1 << 20
# The longest are descriptions of models to create, whose texts have 8 MiB at most.
_MAX_REQUEST_BYTES = 32 * _MIB
_DANGER = "can use, add and remove models; only frontends should, which --fleet-tls-certificate demands"


class HostServer:
    """One host process. Workers of one that was killed are found again by the next."""

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._server = FrontendServer(
            SERVICE_NAME,
            settings.fleet_tls,
            settings.fleet_tls_frontend_names,
            settings.flag("fleet_tls_frontend_names"),
            _MAX_REQUEST_BYTES,
        )
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
        try:
            async with self._server.reloading():
                await self._serve(store)
        finally:
            store.close()

    async def _serve(self, store: Store) -> None:
        settings, folder = self._settings, self._settings.store_folder
        if settings.embedded_model:
            await asyncio.to_thread(put_embedded, store)
        gpus = await asyncio.to_thread(gpus_of, settings)
        readers, client = readers_of(store, settings, gpus), SourceClient(settings.addresses.values())
        catalog = Catalog(store, readers, LoadRecords(folder / "loads"), settings.model_rules)
        await asyncio.to_thread(catalog.refresh)
        pool = Pool(
            catalog, _budget_bytes(settings), settings.min_residency_seconds, settings.replica_seconds, gpus
        )
        pool.workers = Workers(
            folder / "workers",
            settings,
            settings.python_for,
            Events(pool.on_child_changed, pool.on_child_used, pool.on_child_ended),
        )
        sources = Sources(client, settings.allowed_sources, settings.addresses)
        creation = Creation(store, readers)
        pulls = Pulls(store, client, sources.source_of, creation.check, pool.refresh, pool.counts)
        pushes = Pushes(store, client, sources.registry_of)
        states = HostStates(store.id, pool, store.blobs)
        service = HostService(states, pool, store, creation, pulls, pushes)
        await self._listen(service)
        stop_metrics = self._serve_metrics(pool, store)
        pool.start()
        await self._server.set_serving(True)
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
        # Lists of hubs and headers of models are large, and seldom read.
        trimming = asyncio.create_task(trim_after_load(lambda: 0), name="trim memory")
        try:
            await self._stop.wait()
            if not settings.leave_workers:
                states.drain()
                await self._server.set_serving(False)
                await pool.drain()
        finally:
            trimming.cancel()
            stop_metrics()
            states.close()
            await pulls.stop()
            await client.close()
            await self._server.grpc.stop(_CLOSE_SECONDS)
            await pool.stop()
            logs.event(_log, logging.INFO, "stopped", workers_left=len(pool.children))

    def _serve_metrics(self, pool: Pool, store: Store) -> Callable[[], None]:
        """Raises CannotStart. The returned function ends it."""
        address = self._settings.metrics_listen
        if not address:
            return lambda: None
        loop = asyncio.get_running_loop()
        state = HostState(pool.gauges, lambda: pool.gpu_states, lambda: store.blobs.used_bytes, loop)
        try:
            stop = serve_metrics(address, state, pool.counts.registry)
        except OSError as error:
            raise CannotStart(f"cannot serve metrics on {address}: {error}") from error
        warn_if_exposed(_log, address, HostSettings.names_of("metrics_listen"), "can read the metrics")
        return stop

    async def _listen(self, service: HostService) -> None:
        host_pb2_grpc.add_HostServicer_to_server(service, self._server.grpc)
        wanted = self._settings.listen
        self.address = self._server.bind(wanted)
        if local := local_address(self._settings.store_folder):
            self._server.grpc.add_insecure_port(local)
        await self._server.grpc.start()
        logs.event(_log, logging.INFO, "listening", address=self.address)
        if self._server.serves_any_client:
            warn_if_exposed(_log, wanted, HostSettings.names_of("listen"), _DANGER)


def gpus_of(settings: HostSettings) -> Gpus:
    """Asks the driver. Blocks."""
    return Gpus(open_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), settings.gpu_memory_mib * _MIB)


def readers_of(store: Store, settings: HostSettings, gpus: Gpus) -> Sequence[Reader]:
    inherited = settings.inherited_flags
    return [
        GgufReader(store, bool(gpus), inherited),
        SafetensorsReader(store, settings.sglang_interpreter, gpus.least_bytes, inherited),
        SimulatedReader(store),
    ]


def _budget_bytes(settings: HostSettings) -> int:
    if settings.memory_mib:
        return settings.memory_mib * _MIB
    return machine_bytes() * 4 // 5
