"""Callers that ask a host for too much, or begin and stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import grpc
import pytest

from drover.errors import InvalidRequest, QueueFull
from drover.rpc import error_from_status
from drover.v1 import host_pb2, host_pb2_grpc
from engine_worker.host import service as host_service
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.pool import Pool
from engine_worker.host.service import HostService
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.sources.pushes import Pushes
from engine_worker.host.states import HostStates
from engine_worker.host.store import received
from engine_worker.host.store.received import receive_blob
from engine_worker.host.store.store import Store
from tests.support.hosts import hosting, put
from tests.support.waiting import until

_DIGEST = f"sha256:{'0' * 64}"


async def parts(*begin: host_pb2.BlobPart) -> AsyncIterator[host_pb2.BlobPart]:
    """And then nothing, without an end."""
    for part in begin:
        yield part
    await asyncio.Event().wait()


@pytest.mark.parametrize("digest", [_DIGEST, "../../x"])
async def test_an_upload_that_stops_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    """Also one that is refused: the rest of it was waited for, however long."""
    monkeypatch.setattr(received, "_SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(received, "_DISCARD_SECONDS", 0.05)
    with pytest.raises(InvalidRequest):
        async with asyncio.timeout(30):
            await receive_blob(store, parts(host_pb2.BlobPart(digest=digest), host_pb2.BlobPart(data=b"x")))
    assert not list(store.blobs.path(_DIGEST).parent.iterdir())


async def test_uploads_at_once_and_long_messages_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_service, "_MAX_UPLOADS", 1)
    async with (
        hosting(tmp_path / "store") as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        stub = host_pb2_grpc.HostStub(channel)
        first = stub.PutBlob(parts(host_pb2.BlobPart(digest=_DIGEST)))
        blobs = tmp_path / "store" / "blobs"
        await until(lambda: any(blobs.iterdir()), 30, "the upload has begun")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.PutBlob(parts(host_pb2.BlobPart(digest=_DIGEST)))
        assert isinstance(error_from_status(failure.value), QueueFull)
        first.cancel()
        await until(lambda: not any(blobs.iterdir()), 30, "the upload is over")
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await stub.Create(host_pb2.CreateRequest(system="x" * (40 << 20))).read()
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


class _Creation:
    """Counts how many run at once, until they may end."""

    def __init__(self) -> None:
        self.running = 0
        self.may_end = threading.Event()

    def create(self, name: object, request: object) -> None:
        self.running += 1
        self.may_end.wait(10)


class _Context:
    async def write(self, message: object) -> None:
        pass


def _service(store: Store, pool: Pool, creation: object = None) -> HostService:
    nothing = cast(Pulls, None), cast(Pushes, None)
    states = HostStates("this", pool, store.blobs)
    return HostService(states, pool, store, cast(Creation, creation), *nothing)


@pytest.fixture
def pool(store: Store, tmp_path: Path) -> Pool:
    put(store, "one", SIMULATED, b'{"memory_bytes": 1, "flags": []}')
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(tmp_path / "loads"))
    catalog.refresh()
    return Pool(catalog, 1000, 0.0, 60.0)


async def test_creations_leave_threads_for_others(store: Store, pool: Pool) -> None:
    creation = _Creation()
    service = _service(store, pool, creation)
    context = cast("grpc.aio.ServicerContext[host_pb2.CreateRequest, host_pb2.Progress]", _Context())
    calls = [
        asyncio.create_task(service.Create(host_pb2.CreateRequest(model="x"), context)) for _ in range(20)
    ]
    await until(lambda: creation.running == 2, 30, "two run")
    assert await asyncio.wait_for(asyncio.to_thread(lambda: creation.running), 30) == 2
    for call in calls:
        call.cancel()
    creation.may_end.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert creation.running == 2


async def test_demands_for_unknown_models_are_not_kept(store: Store, pool: Pool) -> None:
    (known,) = pool.catalog.models
    caller = pool.add_caller(lambda model, error: None)

    async def demands() -> AsyncIterator[host_pb2.Demands]:
        digests = (known.key, *(f"sha256:{number:064x}" for number in range(4000)))
        yield host_pb2.Demands(
            demands=[host_pb2.Demand(model="x", digest=each, waiting=1) for each in digests]
        )

    await _service(store, pool)._read_demands(demands(), caller)
    assert list(caller.waiting) == [known.key]
