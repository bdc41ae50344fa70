"""The stores of hosts through a frontend: uploads, pulls, deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from drover.errors import DroverError, ModelNotFound
from drover.v1 import host_pb2
from frontend.routing.fleet import Fleet
from tests.support.hosts import hosting, put_simulated
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.frontend.routing.hosts.conftest import fleet_of, stores_of


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


async def test_a_pull_that_the_operator_does_not_allow(fleet: Fleet) -> None:
    async with stores_of(fleet.hosts) as stores:
        steps = stores.pull("evil.example/a/b", "key", insecure=False)
        with pytest.raises(DroverError, match="pulls nothing from"):
            await anext(steps)
