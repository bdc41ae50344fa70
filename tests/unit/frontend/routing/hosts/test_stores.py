"""The stores of hosts through a frontend: uploads, pulls, deletions."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest

from drover.errors import DroverError, InvalidRequest, ModelNotFound, StoreFull, StoreUnavailable
from drover.v1 import host_pb2
from engine_worker.host.store import received
from engine_worker.host.store.store import Store
from frontend.routing.fleet import Fleet
from frontend.routing.hosts import stores as stores_module
from tests.support.hosts import hosting, put_simulated
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.frontend.routing.hosts.conftest import SECONDS, fleet_of, generate, stores_of

_MIB = 1024 * 1024


async def _data(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


async def test_a_model_is_deleted_in_every_version(tmp_path: Path) -> None:
    async with AsyncExitStack() as owned:
        addresses = []
        for number in range(2):
            store = tmp_path / f"store-{number}"
            put_simulated(store, ["one"], 100 + number)
            addresses.append((await owned.enter_async_context(hosting(store))).address)
        fleet = await owned.enter_async_context(fleet_of(*addresses))
        stores = await owned.enter_async_context(stores_of(fleet.hosts))
        await stores.delete("one", name("one").key)
        assert fleet.find(name("one")) is None


async def test_two_clients_may_delete_a_model_at_once(fleet: Fleet) -> None:
    """The host has deleted it for one of them when the other one's call comes."""
    async with stores_of(fleet.hosts) as stores:
        await asyncio.gather(*(stores.delete("one", name("one").key) for _ in range(2)))
        assert not stores.has(name("one").key)


async def test_stores_take_files_and_delete_models(fleet: Fleet, tmp_path: Path) -> None:
    write_sentencepiece_gguf(tmp_path / "tiny.gguf")
    gguf = (tmp_path / "tiny.gguf").read_bytes()
    async with stores_of(fleet.hosts) as stores:
        assert stores.exist
        digest = digest_of(gguf)
        assert await stores.blob_size(digest) is None
        assert await stores.put_blob(digest, _data(gguf))
        assert await stores.blob_size(digest) == len(gguf)
        wanted = host_pb2.CreateRequest(model="made", files={"a.gguf": digest})
        steps = [step.status async for step in stores.create(wanted, name("made").key)]
        assert steps[-1] == "success"
        assert stores.has(name("made").key)
        await stores.delete("made", name("made").key)
        assert not stores.has(name("made").key)
        with pytest.raises(ModelNotFound):
            await stores.delete("made", name("made").key)


async def test_a_copy_is_a_model_of_every_host_that_has_the_first(tmp_path: Path) -> None:
    async with AsyncExitStack() as owned:
        addresses = []
        for number, models in enumerate((["one"], ["one"], ["two"])):
            store = tmp_path / f"store-{number}"
            put_simulated(store, models)
            addresses.append((await owned.enter_async_context(hosting(store))).address)
        fleet = await owned.enter_async_context(fleet_of(*addresses))
        stores = await owned.enter_async_context(stores_of(fleet.hosts))
        await stores.copy("one", name("one").key, "again:v1", name("again:v1").key)
        key = name("again:v1").key
        # The second host lists it a moment later.
        await fleet.hosts.wait_for(lambda: len(fleet.hosts.with_name(key)[0]) == 2)
        assert {host.address for host in fleet.hosts.with_name(key)[0]} == set(addresses[:2])
        await stores.delete("one", name("one").key)
        assert stores.has(name("again:v1").key)
        assert (await generate(fleet, "again:v1")).completion_tokens == 3
        with pytest.raises(ModelNotFound):
            await stores.copy("one", name("one").key, "third", name("third").key)


async def test_a_copy_is_made_when_every_host_is_known_to_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was enough that one was, and who removed the copy at once left it on the others."""
    async with AsyncExitStack() as owned:
        addresses = []
        for number in range(2):
            put_simulated(tmp_path / f"store-{number}", ["one"])
            server = await owned.enter_async_context(hosting(tmp_path / f"store-{number}"))
            addresses.append(server.address)
        fleet = await owned.enter_async_context(fleet_of(*addresses))
        stores = await owned.enter_async_context(stores_of(fleet.hosts))
        first, second = fleet.hosts.all
        publish = second._publish
        monkeypatch.setattr(second, "_publish", lambda: None)
        key = name("again").key
        copying = asyncio.create_task(stores.copy("one", name("one").key, "again", key))
        await until(lambda: key in first.served, SECONDS, "one is known to have it")
        done, _ = await asyncio.wait({copying}, timeout=0.5)
        assert not done
        monkeypatch.undo()
        publish()
        await copying
        await stores.delete("again", key)
        assert key not in second.served


async def test_files_that_were_uploaded_before_another_host_joined(tmp_path: Path) -> None:
    """Which host takes uploads depends on those that are there."""
    write_sentencepiece_gguf(tmp_path / "tiny.gguf")
    gguf = (tmp_path / "tiny.gguf").read_bytes()
    wanted = host_pb2.CreateRequest(model="made", files={"a.gguf": digest_of(gguf)})
    async with AsyncExitStack() as owned:
        hosts = [await owned.enter_async_context(hosting(tmp_path / f"{each}")) for each in range(2)]
        fleet = await owned.enter_async_context(fleet_of(*(host.address for host in hosts)))
        stores = await owned.enter_async_context(stores_of(fleet.hosts))
        await until(lambda: all(host.is_ready for host in fleet.hosts.all), SECONDS, "both are known")
        (other,) = (host for host in fleet.hosts.all if host is not stores._upload_host())
        before = await owned.enter_async_context(fleet_of(other.address))
        alone = await owned.enter_async_context(stores_of(before.hosts))
        assert await alone.put_blob(digest_of(gguf), _data(gguf))
        steps = [step.status async for step in stores.create(wanted, name("made").key)]
        assert steps[-1] == "success"
        assert [host.address for host in fleet.hosts.with_name(name("made").key)[0]] == [other.address]


async def test_a_pull_that_the_operator_does_not_allow(fleet: Fleet) -> None:
    async with stores_of(fleet.hosts) as stores:
        steps = stores.pull("evil.example/a/b", "key", insecure=False)
        with pytest.raises(DroverError, match="pulls nothing from"):
            await anext(steps)


async def test_a_pull_asks_for_a_model_as_it_is_spelt_in_the_store(tmp_path: Path) -> None:
    """Names match in any letter case, and those of registries do not."""
    put_simulated(tmp_path / "store", ["Evil.Example/Team/One"])
    async with (
        hosting(tmp_path / "store") as host,
        fleet_of(host.address) as fleet,
        stores_of(fleet.hosts) as stores,
    ):
        wanted = name("evil.example/TEAM/one")
        with pytest.raises(DroverError, match=r"pulls nothing from Evil\.Example"):
            await anext(stores.pull(wanted.short, wanted.key, insecure=False))


class _Endless:
    """Data that do not end by themselves, and whether they are read now."""

    def __init__(self, first: bytes, *, then: DroverError | None = None) -> None:
        self._first, self._then = first, then
        self.is_open = False

    async def data(self) -> AsyncGenerator[bytes, None]:
        self.is_open = True
        try:
            yield self._first
            if self._then is not None:
                raise self._then
            await asyncio.Event().wait()
        finally:
            self.is_open = False


async def test_an_upload_that_breaks_fails_with_its_own_reason(fleet: Fleet) -> None:
    broken = _Endless(b"12", then=InvalidRequest("the body was cut"))
    async with stores_of(fleet.hosts) as stores:
        with pytest.raises(InvalidRequest, match="the body was cut"):
            await stores.put_blob(digest_of(b"12345"), broken.data())
        assert await stores.blob_size(digest_of(b"12345")) is None
        with pytest.raises(InvalidRequest, match="digest"):
            await stores.put_blob(digest_of(b"12345"), _data(b"wrong"))


async def test_a_client_that_leaves_ends_its_upload(fleet: Fleet) -> None:
    endless = _Endless(b"12")
    async with stores_of(fleet.hosts) as stores:
        upload = asyncio.create_task(stores.put_blob(digest_of(b"12345"), endless.data()))
        await until(lambda: endless.is_open, SECONDS, "it is sent")
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        assert not endless.is_open


async def test_a_file_that_the_host_has_is_not_read(fleet: Fleet) -> None:
    """The host answers after the digest, and the rest of the data is not awaited."""
    endless = _Endless(b"12")
    async with stores_of(fleet.hosts) as stores:
        assert await stores.put_blob(digest_of(b"12345"), _data(b"12345"))
        async with asyncio.timeout(SECONDS):
            assert not await stores.put_blob(digest_of(b"12345"), endless.data())
        assert not endless.is_open


@pytest.mark.parametrize("mib", [3, 80], ids=["read by the host", "cut off by the host"])
async def test_a_full_disk_ends_an_upload_with_its_reason(tmp_path: Path, mib: int) -> None:
    """A host reads what is still on its way up to a bound."""
    assert received._MAX_DISCARDED_BYTES < 80 * _MIB
    piece = bytes(_MIB)
    digest = f"sha256:{hashlib.sha256(piece * mib).hexdigest()}"
    async with (
        hosting(tmp_path / "store", "--disk-mib", "2") as host,
        fleet_of(host.address) as fleet,
        stores_of(fleet.hosts) as stores,
    ):
        with pytest.raises(StoreFull):
            await stores.put_blob(digest, _data(*[piece] * mib))


async def test_a_host_that_leaves_in_mid_upload(tmp_path: Path) -> None:
    endless = _Endless(b"12")
    async with AsyncExitStack() as owned:
        async with hosting(tmp_path / "store") as host:
            fleet = await owned.enter_async_context(fleet_of(host.address))
            stores = await owned.enter_async_context(stores_of(fleet.hosts))
            upload = asyncio.create_task(stores.put_blob(digest_of(b"12345"), endless.data()))
            await until(lambda: any((tmp_path / "store/blobs").iterdir()), SECONDS, "the host has begun")
        with pytest.raises(StoreUnavailable, match="ended the upload"):
            async with asyncio.timeout(SECONDS):
                await upload
        assert not endless.is_open


async def test_a_host_that_takes_no_more_of_an_upload(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose disk hangs. The client would wait for ever."""

    async def stay(store: Store, parts: AsyncGenerator[host_pb2.BlobPart, None]) -> bool:
        async with aclosing(parts):
            await asyncio.Event().wait()
        return False

    monkeypatch.setattr("engine_worker.host.service.receive_blob", stay)
    monkeypatch.setattr(stores_module, "_WRITE_SECONDS", 0.2)
    async with stores_of(fleet.hosts) as stores:
        with pytest.raises(StoreUnavailable, match="took nothing"):
            async with asyncio.timeout(SECONDS):
                await stores.put_blob(digest_of(b"12345"), _data(*[bytes(_MIB)] * 64))
