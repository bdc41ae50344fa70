"""A frontend's side of worker hosts: over real hosts in this process, with simulated models."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import grpc
import pytest

from drover.errors import (
    CapabilityMissing,
    DroverError,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
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
from frontend.routing.backends.connect import connect
from frontend.routing.discovery.static import Static
from frontend.routing.failover import FailoverObserver
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.hosts import stores as stores_module
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.hosts.stores import HostStores
from frontend.routing.model_queue import QueueTable, QueueWait
from frontend.routing.policies.least_load import LeastLoad
from tests.support.hosts import hosting, put, put_simulated
from tests.support.processes import free_port
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of, name

SECONDS = 30.0


@asynccontextmanager
async def fleet_of(
    *addresses: str, load_timeout_seconds: float = 0, move_wait_seconds: float = 1
) -> AsyncIterator[Fleet]:
    hosts = Hosts([Static(addresses)])
    queues = QueueTable(512, move_wait_seconds)
    fleet = Fleet([], connect, LeastLoad(), queues, 0, hosts, load_timeout_seconds)
    await fleet.start()
    try:
        await fleet.wait_for_workers(SECONDS)
        yield fleet
    finally:
        await fleet.stop()


class _Waits(SilentObserver):
    def __init__(self) -> None:
        super().__init__()
        self.waits: list[QueueWait] = []

    def waited(self, wait: QueueWait) -> None:
        self.waits.append(wait)


async def generate(fleet: Fleet, model: str, observer: FailoverObserver | None = None) -> pb.Done:
    """Raises what the request fails with."""
    found = fleet.find(name(model))
    assert found is not None
    request = pb.GenerateRequest(raw="Hello", sampling=pb.Sampling(max_tokens=3))
    handle = fleet.submit(found, request, Ticket(), observer or SilentObserver())
    done: list[pb.Done] = []

    def sink(event: pb.GenerateEvent) -> None:
        if event.HasField("done"):
            done.append(event.done)

    async with asyncio.timeout(SECONDS):
        await handle.deliver(sink)
    return done[0]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """One host with memory for one of two models."""
    put_simulated(tmp_path / "store", ["one", "two"])
    put_simulated(tmp_path / "store", ["large"], memory_mib=300)
    put_simulated(tmp_path / "store", ["broken"], 100, "--no-such-flag", "1")
    async with hosting(tmp_path / "store") as host, fleet_of(host.address) as fleet:
        yield fleet


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
        await HostStores(fleet.hosts).delete("one", name("one").key)
        assert fleet.find(name("one")) is None
        assert (await generate(fleet, "same")).timings.load_ns == 0


async def test_a_model_that_is_made_anew_replaces_the_one_in_memory(fleet: Fleet, tmp_path: Path) -> None:
    await generate(fleet, "one")
    data, folder = b'{"memory_bytes": 2, "flags": []}', tmp_path / "store"
    manifest = Manifest([Layer(SIMULATED, Blobs(folder / "blobs").put(data), len(data))])
    Manifests(folder / "manifests").put(name("one"), manifest)
    # The host reads its store after that.
    await HostStores(fleet.hosts).delete("two", name("two").key)
    found = fleet.find(name("one"))
    assert found is not None
    assert found.info.manifest == manifest.digest
    children = [each for host in fleet.hosts.all for each in host.children.values()]
    assert all(each.state == host_pb2.Child.DRAINING for each in children)
    assert (await generate(fleet, "one")).timings.load_ns > 0


async def test_a_model_is_deleted_in_every_version(tmp_path: Path) -> None:
    async with AsyncExitStack() as owned:
        addresses = []
        for number in range(2):
            store = tmp_path / f"store-{number}"
            put_simulated(store, ["one"], 100 + number)
            addresses.append((await owned.enter_async_context(hosting(store))).address)
        fleet = await owned.enter_async_context(fleet_of(*addresses))
        await HostStores(fleet.hosts).delete("one", name("one").key)
        assert fleet.find(name("one")) is None


async def test_a_host_that_is_lost_keeps_its_models_known(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["one"])
    async with AsyncExitStack() as owned:
        async with hosting(tmp_path / "store") as host:
            fleet = await owned.enter_async_context(fleet_of(host.address, move_wait_seconds=0))
            await generate(fleet, "one")
        await until(lambda: not fleet.hosts.any_ready, SECONDS, "the host is lost")
        assert fleet.find(name("one")) is not None
        with pytest.raises(NoWorkerReady):
            await generate(fleet, "one")


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
        show = HostStores(fleet.hosts).describe("one", name("one").key, verbose=False)
        asking = asyncio.gather(fleet.load(model, pb.LoadRequest()), generate(fleet, "one"), show)
        await until(lambda: fleet.queues.waiting == 2, SECONDS, "both wait")
        await owned.enter_async_context(hosting(tmp_path / "store", "--listen", address))
        _, done, shown = await asking
        assert done.completion_tokens == 3
        assert list(shown.names) == ["one:latest"]


async def test_only_a_host_that_was_there_is_logged_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As workers: a frontend that starts before its hosts warns of nothing."""
    caplog.set_level(logging.INFO, "drover.fleet")

    def events() -> list[tuple[str, str]]:
        names = [(record.levelname, record.getMessage()) for record in caplog.records]
        return [each for each in names if each[1].startswith("host ")]

    put_simulated(tmp_path / "store", ["one"])
    address = f"127.0.0.1:{free_port()}"
    async with fleet_of(address) as fleet:
        assert events() == [("INFO", "host cannot be reached")]
        async with hosting(tmp_path / "store", "--listen", address):
            await until(lambda: fleet.hosts.any_ready, SECONDS, "the host is there")
        await until(lambda: not fleet.hosts.any_ready, SECONDS, "the host drains")
        await until(lambda: ("WARNING", "host lost") in events(), SECONDS, "the host is lost")
    assert ("WARNING", "host lost") not in events()[: events().index(("INFO", "host joined"))]


async def test_a_worker_in_the_place_of_a_host_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "drover.fleet")
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with fleet_of(f"127.0.0.1:{port}"):
        (record,) = [each for each in caplog.records if each.getMessage() == "host cannot be reached"]
    await server.stop(None)
    assert "no worker host listens there; workers are named in --workers" in str(vars(record))


async def test_a_load_that_takes_too_long(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["slow"], 100, "--sim-load-ms", "60000")
    async with hosting(tmp_path / "store") as host, fleet_of(host.address, load_timeout_seconds=0.5) as fleet:
        with pytest.raises(DroverError, match=r"not loaded within 0\.5 s"):
            await generate(fleet, "slow")


async def test_stores_take_files_and_delete_models(fleet: Fleet, tmp_path: Path) -> None:
    write_sentencepiece_gguf(tmp_path / "tiny.gguf")
    gguf = (tmp_path / "tiny.gguf").read_bytes()
    stores = HostStores(fleet.hosts)
    assert stores.exist

    async def data() -> AsyncIterator[bytes]:
        yield gguf

    digest = digest_of(gguf)
    assert await stores.blob_size(digest) is None
    assert await stores.put_blob(digest, data())
    assert await stores.blob_size(digest) == len(gguf)
    wanted = host_pb2.CreateRequest(model="made", files={"a.gguf": digest})
    steps = [step.status async for step in stores.create(wanted, name("made").key)]
    assert steps[-1] == "success"
    assert stores.has(name("made").key)
    await stores.delete("made", name("made").key)
    assert not stores.has(name("made").key)
    with pytest.raises(ModelNotFound):
        await stores.delete("made", name("made").key)


async def test_a_pull_that_the_operator_does_not_allow(fleet: Fleet) -> None:
    stores = HostStores(fleet.hosts)
    steps = stores.pull("evil.example/a/b", "key", insecure=False)
    with pytest.raises(DroverError, match="pulls nothing from"):
        await anext(steps)


class _Changing:
    """Implements Discovery: two hosts that leave together."""

    def __init__(self, number: int, leave: asyncio.Event) -> None:
        self._number = number
        self._leave = leave

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        yield [f"127.0.0.{self._number}:{port}" for port in (1, 2)]
        await self._leave.wait()
        yield []
        await asyncio.Event().wait()


async def test_hosts_of_several_discoveries_may_leave_together(caplog: pytest.LogCaptureFixture) -> None:
    leave = asyncio.Event()
    hosts = Hosts([_Changing(number, leave) for number in (1, 2)])
    hosts.start()
    try:
        async with asyncio.timeout(SECONDS):
            await hosts.wait_known()
        assert len(hosts.all) == 4
        leave.set()
        await until(lambda: not hosts.all, SECONDS, "they are forgotten")
        # The discoveries are still followed.
        assert not [task for task in hosts._tasks if task.done()]
    finally:
        await hosts.stop()
    assert "died" not in caplog.text


class _Listing:
    """Implements Discovery: yields what the test puts in."""

    def __init__(self) -> None:
        self.lists: asyncio.Queue[Sequence[str]] = asyncio.Queue()

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        while True:
            yield await self.lists.get()


async def test_models_of_a_host_that_gets_another_address_stay_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of a pod that is being replaced, while other hosts are ready."""
    listing = _Listing()
    hosts = Hosts([listing])
    fleet = Fleet([], connect, LeastLoad(), QueueTable(512, 1.0), 0, hosts)
    await fleet.start()
    try:
        listing.lists.put_nowait(["127.0.0.1:1", "127.0.0.1:2"])
        await until(lambda: len(hosts.all) == 2, SECONDS, "they are known")
        models = [host_pb2.StoredModel(card=pb.Model(names=["one:latest"], manifest="sha256:1"))]
        hosts.all[0].update(host_pb2.HostState(id="a", stored=host_pb2.StoredModels(models=models)))
        hosts.all[1].update(host_pb2.HostState(id="b"))
        listing.lists.put_nowait(["127.0.0.1:2"])
        await until(lambda: len(hosts.all) == 1, SECONDS, "one is removed")
        assert fleet.find(name("one")) is not None
        assert not fleet.served()
        # A request waits for it.
        assert hosts.may_return("sha256:1", SECONDS)
        assert not hosts.may_return("sha256:1", 0)

        # What only a host can do fails as for a host that is lost.
        monkeypatch.setattr(stores_module, "_AWAY_SECONDS", 0.0)
        stores = HostStores(hosts)
        # So that a pull downloads it.
        assert stores.has(name("one").key)
        hosts.all[0].update(host_pb2.HostState(id="b"))
        for asking in (
            stores.describe("one", name("one").key, verbose=False),
            anext(stores.push("one", name("one").key, insecure=False)),
            stores.delete("one", name("one").key),
        ):
            with pytest.raises(NoWorkerReady, match="no worker host that has 'one'"):
                await asking

        # It is back, and somebody has removed the model.
        hosts.all[0].update(host_pb2.HostState(id="a"))
        assert hosts.find(name("one").key) is None
        assert not hosts.may_return("sha256:1", SECONDS)
    finally:
        await fleet.stop()


async def test_without_hosts_nothing_is_stored() -> None:
    async with fleet_of() as fleet:
        with pytest.raises(NoWorkerReady):
            await HostStores(fleet.hosts).blob_size(digest_of(b""))
