"""The stores of hosts through a frontend: uploads, pulls, deletions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from drover.errors import (
    DroverError,
    ModelNotFound,
)
from drover.v1 import host_pb2
from frontend.routing.fleet import Fleet
from frontend.routing.hosts.stores import HostStores
from tests.support.hosts import hosting, put_simulated
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.frontend.routing.hosts.conftest import fleet_of


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
