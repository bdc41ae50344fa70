"""A frontend's side of worker hosts: over real hosts in this process, with simulated models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from drover.errors import (
    CapabilityMissing,
    DroverError,
    EngineFailed,
    InvalidRequest,
    NoWorkerReady,
)
from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from engine_worker.host.models.simulated import SIMULATED
from engine_worker.host.store.blobs import Blobs
from engine_worker.host.store.manifest import Layer, Manifest
from engine_worker.host.store.manifests import Manifests
from engine_worker.host.store.store import Store
from frontend.observability.request_record import SilentObserver
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueWait
from tests.support.hosts import hosting, put, put_simulated
from tests.support.processes import free_port
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.frontend.routing.hosts.conftest import SECONDS, fleet_of, generate, stores_of


class _Waits(SilentObserver):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[QueueWait] = []

    def waited(self, wait: QueueWait) -> None:
        self.waits.append(wait)


async def test_a_stored_model_is_served_for_its_first_request(fleet: Fleet) -> None:
    assert fleet.has_ready_worker
    assert {model.name.short for model in fleet.served()} >= {"one:latest", "two:latest"}
    assert fleet.loaded() == []
    observer, began_ns = _Waits(), time.time_ns()
    first, second = await generate(fleet, "one", observer), await generate(fleet, "one", observer)
    assert first.timings.load_ns > 10_000_000
    assert second.timings.load_ns == 0
    assert [each.model.name.short for each in fleet.loaded()] == ["one:latest"]
    (load,) = [wait.load for wait in observer.waits if wait.load is not None]
    assert load.host == fleet.hosts.all[0].address
    assert began_ns < load.began_unix_ns < time.time_ns()
    # It makes room.
    assert (await generate(fleet, "two")).completion_tokens == 3


@pytest.mark.parametrize(
    ("model", "error", "words"),
    [("large", NoWorkerReady, "needs 300 MiB"), ("broken", EngineFailed, "cannot be loaded")],
)
async def test_what_no_host_can_load_fails_with_the_reason(
    fleet: Fleet, model: str, error: type[DroverError], words: str
) -> None:
    with pytest.raises(error, match=words):
        await generate(fleet, model)
    # Also at once afterwards, without asking the host again.
    with pytest.raises(error, match=words):
        await generate(fleet, model)


async def test_what_no_engine_can_serve_fails_with_the_reason(tmp_path: Path) -> None:
    """As safetensors do without SGLang, and files for another engine than the operator wants."""
    put_simulated(tmp_path / "store", ["one"])
    async with (
        hosting(tmp_path / "store", "--engine-for", "one=llamacpp") as host,
        fleet_of(host.address) as fleet,
    ):
        model = fleet.find(name("one"))
        assert model is not None
        for asking in (generate(fleet, "one"), fleet.load(model, pb.LoadRequest())):
            with pytest.raises(NoWorkerReady, match="'one:latest' cannot be served: --engine-for"):
                await asking
        # It is not in memory.
        await fleet.unload(model)


async def test_load_and_unload(fleet: Fleet) -> None:
    model = fleet.find(name("one"))
    assert model is not None
    await fleet.unload(model)
    observer = _Waits()
    async with asyncio.timeout(SECONDS):
        await fleet.load(model, pb.LoadRequest(), observer)
    assert [wait.load is not None for wait in observer.waits] == [True]
    assert [each.model.name.short for each in fleet.loaded()] == ["one:latest"]
    await fleet.unload(model)
    await until(lambda: fleet.loaded() == [], SECONDS, "the model is unloaded")


async def test_calls_that_meet_the_end_of_a_worker_get_the_next_one(fleet: Fleet) -> None:
    """Its keep-alive ends at the moment that a client preloads, stops or counts tokens."""
    model = fleet.find(name("one"))
    assert model is not None
    async with asyncio.timeout(SECONDS):
        await fleet.load(model, pb.LoadRequest())
        for _ in range(2):
            await fleet.unload(model)
        await fleet.load(model, pb.LoadRequest())
        assert [each.model.name.short for each in fleet.loaded()] == ["one:latest"]
        await fleet.unload(model)
        assert await fleet.call(model, lambda worker: worker.tokenize(pb.TokenizeRequest(text="Hello")))


async def test_an_adapter_is_given_to_a_worker_that_a_host_starts_for_it(fleet: Fleet) -> None:
    class NoParts:
        async def parts(self, digest: str) -> AsyncGenerator[pb.AdapterPart, None]:
            yield pb.AdapterPart()
            raise InvalidRequest(digest)

    model, fleet.adapters.source = fleet.find(name("one")), NoParts()
    assert model is not None
    # The worker refuses adapters, perhaps before the source has failed.
    with pytest.raises((InvalidRequest, CapabilityMissing)):
        await fleet.place_adapter(model, f"sha256:{'0' * 64}")
    assert [each.model.name.short for each in fleet.loaded()] == ["one:latest"]


async def test_another_host_is_asked_if_one_cannot(tmp_path: Path) -> None:
    """The model of one name has the same files on both, and only one has memory for it."""
    async with AsyncExitStack() as owned:
        addresses = []
        for number, memory in enumerate((50, 150)):
            store = tmp_path / f"store-{number}"
            put_simulated(store, ["one"])
            addresses.append((await owned.enter_async_context(hosting(store, memory_mib=memory))).address)
        fleet = await owned.enter_async_context(fleet_of(*addresses))
        assert (await generate(fleet, "one")).completion_tokens == 3


async def test_a_second_replica_becomes_the_first_when_that_one_goes(tmp_path: Path) -> None:
    async with AsyncExitStack() as owned:
        servers = []
        for number in range(2):
            put_simulated(tmp_path / f"store-{number}", ["one"])
            servers.append(await owned.enter_async_context(hosting(tmp_path / f"store-{number}")))
        fleet = await owned.enter_async_context(fleet_of(*(server.address for server in servers)))
        await generate(fleet, "one")
        first, other = sorted(fleet.hosts.all, key=lambda host: not host.children)
        demand = host_pb2.Demand(model="one", digest=next(iter(first.children)), waiting=1, extra=True)
        call = other.stub.Ensure()
        await call.write(host_pb2.Demands(demands=[demand]))

        def extra() -> list[bool]:
            return [each.extra for host in (first, other) for each in host.children.values()]

        await until(lambda: extra() == [False, True], SECONDS, "both hosts have it")
        call.cancel()
        await first.stub.Release(host_pb2.ReleaseRequest(model="one"))
        await until(lambda: extra() == [False], SECONDS, "the second one is left")


async def test_one_model_under_two_names(tmp_path: Path) -> None:
    """As `qwen3` and `qwen3:8b` are in a registry."""
    store = Store(tmp_path / "store")
    for text in ("one", "same"):
        put(store, text, SIMULATED, b'{"memory_bytes": 1, "flags": []}')
    store.close()
    async with hosting(tmp_path / "store") as host, fleet_of(host.address) as fleet:
        assert {model.name.short for model in fleet.served()} == {"one:latest", "same:latest"}
        await generate(fleet, "one")
        assert (await generate(fleet, "same")).timings.load_ns == 0
        async with stores_of(fleet.hosts) as stores:
            await stores.delete("one", name("one").key)
        assert fleet.find(name("one")) is None
        assert (await generate(fleet, "same")).timings.load_ns == 0


async def test_a_model_that_is_made_anew_replaces_the_one_in_memory(fleet: Fleet, tmp_path: Path) -> None:
    await generate(fleet, "one")
    data, folder = b'{"memory_bytes": 2, "flags": []}', tmp_path / "store"
    manifest = Manifest([Layer(SIMULATED, Blobs(folder / "blobs").put(data), len(data))])
    Manifests(folder / "manifests").put(name("one"), manifest)
    # The host reads its store after that.
    async with stores_of(fleet.hosts) as stores:
        await stores.delete("two", name("two").key)
    found = fleet.find(name("one"))
    assert found is not None
    assert found.info.manifest == manifest.digest
    children = [each for host in fleet.hosts.all for each in host.children.values()]
    assert all(each.state == host_pb2.Child.DRAINING for each in children)
    assert (await generate(fleet, "one")).timings.load_ns > 0


async def test_new_requests_wait_for_a_host_that_restarts(tmp_path: Path) -> None:
    """As those do that had come before that."""
    put_simulated(tmp_path / "store", ["one"])
    address = f"127.0.0.1:{free_port()}"
    async with AsyncExitStack() as owned:
        async with hosting(tmp_path / "store", "--listen", address):
            fleet = await owned.enter_async_context(fleet_of(address, move_wait_seconds=SECONDS))
        await until(lambda: not fleet.hosts.any_ready, SECONDS, "the host is lost")
        model = fleet.find(name("one"))
        assert model is not None
        stores = await owned.enter_async_context(stores_of(fleet.hosts))
        show = stores.describe("one", name("one").key, verbose=False)
        asking = asyncio.gather(fleet.load(model, pb.LoadRequest()), generate(fleet, "one"), show)
        await until(lambda: fleet.queues.waiting == 2, SECONDS, "both wait")
        await owned.enter_async_context(hosting(tmp_path / "store", "--listen", address))
        _, done, shown = await asking
        assert done.completion_tokens == 3
        assert list(shown.names) == ["one:latest"]


async def test_a_waiting_request_is_promised_what_is_left_of_the_load(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["slow"], 100, "--sim-load-ms", "1500")
    async with hosting(tmp_path / "store") as host, fleet_of(host.address) as fleet:
        assert (await generate(fleet, "slow")).completion_tokens == 3
        model = fleet.find(name("slow"))
        assert model is not None
        await fleet.unload(model)
        key, (host_there,) = model.info.manifest, fleet.hosts.all
        await until(lambda: not host_there.has_ready(key), SECONDS, "it is unloaded")
        again = asyncio.create_task(generate(fleet, "slow"))
        await until(lambda: fleet.queues.find("", "") is not None, SECONDS, "it waits")
        waiting = fleet.queues.find("", "")
        assert waiting is not None
        # As its last load, once: the wait for that one is among the queue's departures, too.
        usual_seconds = host_there.stored[key].load_ns / 1e9
        assert usual_seconds / 2 < waiting.expected_seconds <= usual_seconds
        await again


async def test_a_load_that_takes_too_long(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["slow"], 100, "--sim-load-ms", "60000")
    async with hosting(tmp_path / "store") as host, fleet_of(host.address, load_timeout_seconds=0.5) as fleet:
        with pytest.raises(DroverError, match=r"not loaded within 0\.5 s"):
            await generate(fleet, "slow")


async def test_without_hosts_nothing_is_stored() -> None:
    async with fleet_of() as fleet, stores_of(fleet.hosts) as stores:
        with pytest.raises(NoWorkerReady):
            await stores.blob_size(digest_of(b""))
