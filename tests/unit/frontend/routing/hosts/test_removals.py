"""Models that are removed while a host that has them is away."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from drover.errors import ModelNotFound, NoWorkerReady, StoreUnavailable
from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from engine_worker.host.store.manifest import Manifest
from engine_worker.host.store.manifests import Manifests
from frontend.database.database import Database
from frontend.routing.discovery.static import Static
from frontend.routing.fleet import Fleet
from frontend.routing.hosts import removals as removals_module
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.hosts.removal_rows import Removal, RemovalRows
from frontend.routing.hosts.removals import Removals
from frontend.routing.hosts.stores import HostStores
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from tests.support.hosts import hosting, put_simulated
from tests.support.processes import free_port
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.frontend.routing.hosts.conftest import SECONDS, fleet_of, generate, send, stores_of

ONE = name("one").key


@dataclass
class _Away:
    """A host at `address`, which is away, has the models `one` and `two` in `store`."""

    address: str
    store: Path
    fleet: Fleet
    stores: HostStores

    def files(self) -> int:
        return len(list((self.store / "blobs").iterdir()))

    def has(self, model: str) -> bool:
        return (self.store / "manifests/registry.ollama.ai/library" / model / "latest").exists()

    async def is_seen(self) -> None:
        await until(lambda: self.fleet.hosts.any_ready, SECONDS, "the host is back")


@asynccontextmanager
async def _away(folder: Path, url: str, *others: str) -> AsyncIterator[_Away]:
    """`others`: addresses of hosts that are ready."""
    store, address = folder / "store", f"127.0.0.1:{free_port()}"
    put_simulated(store, ["one", "two"])
    async with AsyncExitStack() as owned:
        async with hosting(store, "--listen", address):
            fleet = await owned.enter_async_context(fleet_of(address, *others))
            stores = await owned.enter_async_context(stores_of(fleet.hosts, url))
        ready = len(others)
        await until(
            lambda: sum(host.is_ready for host in fleet.hosts.all) == ready, SECONDS, "the host is lost"
        )
        yield _Away(address, store, fleet, stores)


async def test_the_model_is_deleted_when_the_host_is_back(tmp_path: Path, url: str) -> None:
    """By the frontend that removed it or by another one."""
    async with _away(tmp_path, url) as away, fleet_of(away.address) as other:
        files = away.files()
        await away.stores.delete("one", ONE)
        assert not away.stores.has(ONE)
        with pytest.raises(ModelNotFound):
            await away.stores.delete("one", ONE)
        async with hosting(away.store, "--listen", away.address), stores_of(other.hosts, url):
            await until(lambda: not away.has("one"), SECONDS, "it is deleted there")
            await until(lambda: away.files() < files, SECONDS, "its files are freed")
            await away.is_seen()
            await until(lambda: other.hosts.any_ready, SECONDS, "the other frontend sees the host, too")
            for fleet in (away.fleet, other):
                assert fleet.find(name("one")) is None
                assert (await generate(fleet, "two")).completion_tokens == 3
            # It may come again.
            await until(lambda: not away.stores._removals._pending, SECONDS, "nothing is left to do")


async def test_the_model_is_not_listed_before_it_is_deleted(tmp_path: Path, url: str) -> None:
    """Not by a frontend that started later, either: with a database that then fails nothing is deleted."""
    async with _away(tmp_path, url) as away:
        await away.stores.delete("one", ONE)
        await away.stores._removals.stop()
        async with (
            fleet_of(away.address) as other,
            stores_of(other.hosts, url) as stores,
        ):
            await stores._removals.stop()
            async with hosting(away.store, "--listen", away.address):
                for fleet in (away.fleet, other):
                    await until(partial(_is_back, fleet), SECONDS, "it is back")
                    assert [model.name.short for model in fleet.served()] == ["two:latest"]
                    assert not fleet.hosts.has(fleet.hosts.all[0].manifest_of(ONE))
                assert away.has("one")


def _is_back(fleet: Fleet) -> bool:
    return fleet.hosts.any_ready


async def test_a_model_that_was_made_anew_meanwhile_stays(tmp_path: Path, url: str) -> None:
    async with _away(tmp_path, url) as away:
        await away.stores.delete("one", ONE)
        put_simulated(away.store, ["one"], memory_mib=101)
        async with hosting(away.store, "--listen", away.address):
            await until(lambda: away.stores.has(ONE), SECONDS, "it is listed")
            await until(lambda: not away.stores._removals._pending, SECONDS, "the removal does not count")
            assert away.has("one")


async def test_a_store_that_was_not_away_loses_nothing(tmp_path: Path, url: str) -> None:
    """Although it has the same files, and is at the same address."""
    async with _away(tmp_path, url) as away:
        copied = shutil.copytree(away.store, tmp_path / "copy")
        (copied / "id").unlink()
        await away.stores.delete("one", ONE)
        async with hosting(copied, "--listen", away.address):
            await until(lambda: away.stores.has(ONE), SECONDS, "its model is listed")
        async with hosting(away.store, "--listen", away.address):
            await until(lambda: not away.has("one"), SECONDS, "the one that was away deletes it")
        assert (copied / "manifests/registry.ollama.ai/library/one/latest").exists()


async def test_it_is_deleted_at_once_where_the_host_is_there(tmp_path: Path, url: str) -> None:
    put_simulated(tmp_path / "there", ["one"])
    async with hosting(tmp_path / "there") as there, _away(tmp_path, url, there.address) as away:
        await away.stores.delete("one", ONE)
        assert not away.stores.has(ONE)
        assert not (tmp_path / "there/manifests/registry.ollama.ai/library/one").exists()
        assert away.has("one")


async def test_nothing_is_deleted_while_it_cannot_be_remembered(tmp_path: Path) -> None:
    """A removal is whole, or is none."""
    put_simulated(tmp_path / "there", ["one"])
    (tmp_path / "folder").mkdir()
    url = f"sqlite:///{tmp_path / 'folder'}"
    async with hosting(tmp_path / "there") as there, _away(tmp_path, url, there.address) as away:
        with pytest.raises(StoreUnavailable):
            await away.stores.delete("one", ONE)
        assert away.stores.has(ONE)
        assert (tmp_path / "there/manifests/registry.ollama.ai/library/one/latest").exists()


async def test_a_host_that_is_lost_in_mid_removal_is_away() -> None:
    hosts = Hosts([Static(["127.0.0.1:1"])])
    hosts.start()
    try:
        await hosts.wait_known()
        async with stores_of(hosts) as stores:
            send(hosts.all[0], _state("a", "sha256:1"))
            await stores.delete("one", ONE)
            assert not stores.has(ONE)
            assert hosts.all[0].manifest_of(ONE) == "sha256:1"
    finally:
        await hosts.stop()


async def test_a_model_that_goes_while_rows_are_written_is_known_by_its_manifest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row without one would be for whatever the name has then."""
    hosts = Hosts([Static(["127.0.0.1:1", "127.0.0.1:2"])])
    hosts.start()
    add, added = RemovalRows.add, list[Removal]()
    try:
        await hosts.wait_known()
        away, there = hosts.all

        async def then_remove(rows: RemovalRows, removals: Sequence[Removal]) -> None:
            added.extend(removals)
            await add(rows, removals)
            send(there, _state("there"))

        monkeypatch.setattr(RemovalRows, "add", then_remove)
        async with stores_of(hosts) as stores:
            send(away, _state("away", "sha256:1"))
            away._on_lost("it restarts")
            send(there, _state("there", "sha256:2"))
            await stores.delete("one", ONE)
    finally:
        await hosts.stop()
    assert added == [Removal("away", ONE, "sha256:1"), Removal("there", ONE, "sha256:2")]


def _state(store: str, *manifests: str) -> host_pb2.HostState:
    models = [host_pb2.StoredModel(card=pb.Model(names=["one:latest"], manifest=each)) for each in manifests]
    return host_pb2.HostState(id=store, stored=host_pb2.StoredModels(models=models))


async def test_another_store_at_the_address_is_not_meant(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the same model, and comes while the row is claimed."""
    host = WatchedHost("127.0.0.1:1", HostEvents(lambda: None, lambda: None, lambda *_: None))
    removal, rows = Removal("a", ONE, "sha256:1"), RemovalRows(database, 60)
    removals = Removals(rows, Hosts([]), 1)
    await removals.add([removal])
    send(host, _state("a", "sha256:1"))

    async def come(rows: RemovalRows, removal: Removal) -> bool:
        send(host, _state("b", "sha256:1"))
        return True

    async def fail(rows: RemovalRows, removal: Removal) -> bool:
        raise StoreUnavailable("it is away")

    monkeypatch.setattr(RemovalRows, "claim", fail)
    for _ in range(2):
        await removals._delete_from(host, [removal])
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    monkeypatch.setattr(RemovalRows, "claim", come)
    for _ in range(2):
        # Where the host were asked it would fail: nothing listens there.
        await removals._finish(host, removal)
    assert (await rows.after(-1)).rows == [removal]


async def test_one_store_at_two_addresses(tmp_path: Path) -> None:
    """It deletes the model for one of them, and does not have it for the other."""
    put_simulated(tmp_path / "store", ["one"])
    async with hosting(tmp_path / "store") as host:
        same = host.address.replace("127.0.0.1", "localhost")
        async with fleet_of(host.address, same) as fleet, stores_of(fleet.hosts) as stores:
            assert len([each for each in fleet.hosts.all if each.is_ready]) == 2
            await stores.delete("one", ONE)
            assert not stores.has(ONE)


async def test_a_host_deletes_only_the_manifest_that_is_meant(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["one", "two"])
    async with hosting(tmp_path / "store") as host, fleet_of(host.address) as fleet:
        (watched,) = fleet.hosts.all
        with pytest.raises(Exception, match="sha256:0 not found"):
            await watched.stub.Delete(host_pb2.DeleteRequest(model="one", manifest="sha256:0"))
        assert fleet.find(name("one")) is not None
        meant = host_pb2.DeleteRequest(model=ONE, manifest=watched.manifest_of(ONE))
        assert (await watched.stub.Delete(meant)).freed_bytes > 0

        # One that is made anew, before the host has read its store again.
        old = host_pb2.DeleteRequest(model="two", manifest=watched.manifest_of(name("two").key))
        made, manifests = Manifest([]), Manifests(tmp_path / "store" / "manifests")
        manifests.put(name("two"), made)
        with pytest.raises(Exception, match="not found"):
            await watched.stub.Delete(old)
        assert manifests.find(name("two")) == made


async def test_a_new_model_of_the_name_comes_after_the_deletion(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be taken for the removed one, if it has the same files."""
    write_sentencepiece_gguf(tmp_path / "tiny.gguf")
    gguf = (tmp_path / "tiny.gguf").read_bytes()

    async def data() -> AsyncGenerator[bytes, None]:
        yield gguf

    async with _away(tmp_path, url) as away:
        await away.stores.delete("one", ONE)
        async with hosting(away.store, "--listen", away.address):
            await away.is_seen()
            await away.stores.put_blob(digest_of(gguf), data())
            wanted = host_pb2.CreateRequest(model="one", files={"a.gguf": digest_of(gguf)})
            assert [step.status async for step in away.stores.create(wanted, ONE)][-1] == "success"
            assert not away.stores._removals._pending
            assert away.stores.has(ONE)

            # One that cannot be deleted for a while.
            monkeypatch.setattr(removals_module, "_SETTLE_SECONDS", 0.05)
            (host,) = away.fleet.hosts.all
            away.stores._removals._pending = frozenset({Removal(host.id, ONE, "sha256:1")})
            with pytest.raises(NoWorkerReady, match="is not deleted yet"):
                await anext(away.stores.create(wanted, ONE))
