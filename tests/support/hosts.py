"""Worker hosts, in this process and as processes, and stores with simulated models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import orjson

from drover.names import ModelName
from engine_worker.host.models.simulated import SIMULATED
from engine_worker.host.server import HostServer
from engine_worker.host.settings import HostSettings
from engine_worker.host.store.manifest import Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.processes import Process, free_port, launched, wait_until_ready


def put_simulated(
    folder: Path, names: Sequence[str], memory_mib: int = 100, *flags: str, gpus: int = 0, gpu_mib: int = 0
) -> None:
    """Into a store that no host uses: models of a size, each with its own answers. `gpu_mib`: of each GPU."""
    store = Store(folder)
    try:
        for number, name in enumerate(names):
            own = ["--sim-seed", str(number), *flags]
            sizes = {"memory_bytes": memory_mib << 20, "gpus": gpus, "gpu_bytes": gpu_mib << 20}
            text = json.dumps({**sizes, "flags": own}).encode()
            put(store, name, SIMULATED, text)
    finally:
        store.close()


def put(store: Store, name: str, media_type: str, data: bytes) -> Manifest:
    """A model with one file."""
    manifest = Manifest([Layer(media_type, store.blobs.put(data), len(data))])
    parsed = ModelName.parse(name)
    assert parsed is not None
    store.put(parsed, manifest)
    return manifest


@asynccontextmanager
async def hosting(store: Path, *flags: str, memory_mib: int = 150) -> AsyncIterator[HostServer]:
    """A host in this process that is ready. Its workers drain with it, within a second."""
    common = ["--listen", "127.0.0.1:0", "--store", str(store), "--memory-mib", str(memory_mib)]
    quick = ["--drain-seconds", "1", "--min-residency-seconds", "0.2"]
    server = HostServer(HostSettings.load([*common, *quick, *flags]))
    running = asyncio.create_task(server.run(), name="host")
    await server.wait_ready()
    try:
        yield server
    finally:
        server.stop()
        await running


@contextmanager
def host(
    log: Path, store: Path, *flags: str, address: str = "", within: Sequence[str] = ()
) -> Iterator[Process]:
    """A host that is ready. Its workers are ended with it, which it would leave running."""
    address = address or f"127.0.0.1:{free_port()}"
    command = [
        "-m",
        "engine_worker.host",
        "--listen",
        address,
        "--store",
        str(store),
        "--log-format",
        "json",
        *flags,
    ]
    with launched(command, address, log, within=within) as process:
        # Not by a health check, for which a host with TLS wants a certificate.
        wait_until_ready(process, lambda: '"ready"' in process.log_text())
        yield process


def worker_pids(store: Path) -> list[int]:
    """Of the workers that the store's host has started and that it knows of."""
    states = (store / "workers").glob("*/worker.json")
    return [orjson.loads(path.read_bytes())["pid"] for path in states]
