"""The gRPC service drover.v1.Host: the host's state, what frontends wait for, and its store."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from drover.errors import DroverError, InvalidRequest
from drover.names import ModelName
from drover.rpc import failure_of
from drover.v1 import engine_pb2, host_pb2, host_pb2_grpc
from engine_worker.calls import guarded, send
from engine_worker.host.at_once import AtOnce
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.plan import Demand
from engine_worker.host.pool import Caller, Pool
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.sources.pushes import Pushes
from engine_worker.host.states import HostStates
from engine_worker.host.store.received import receive_blob
from engine_worker.host.store.store import UPLOAD_SECONDS, Store

_log = logging.getLogger("drover.host")
_MAX_FAILURES = 256
_MAX_DEMANDS = 4096
# At once. Each has a file open, and some wait for their clients.
_MAX_UPLOADS = 64
# At once: what is read of the files is in memory, and others need the threads, too.
_CREATIONS = 2
_NS = 1_000_000_000

if TYPE_CHECKING:
    from drover.v1.host_pb2_grpc import _ServicerContext as Context


class HostService(host_pb2_grpc.HostServicer):
    """Implements drover.v1.Host."""

    def __init__(
        self, states: HostStates, pool: Pool, store: Store, creation: Creation, pulls: Pulls, pushes: Pushes
    ) -> None:
        self._states = states
        self._creation = creation
        self._pulls = pulls
        self._pushes = pushes
        self._pool = pool
        self._store = store
        self._uploads = AtOnce(_MAX_UPLOADS, "uploads")
        self._creating = asyncio.Semaphore(_CREATIONS)

    async def Watch(  # type: ignore[override]  # it writes by itself
        self,
        request: host_pb2.WatchHostRequest,
        context: grpc.aio.ServicerContext[host_pb2.WatchHostRequest, host_pb2.HostState],
    ) -> None:
        async def watch() -> None:
            async with aclosing(self._states.watch(request.takes_changes)) as states:
                async for state in states:
                    await send(context, state)

        await guarded(context, watch, _log)

    async def Ensure(  # type: ignore[override]  # it writes by itself
        self,
        request_iterator: AsyncIterator[host_pb2.Demands],
        context: grpc.aio.ServicerContext[host_pb2.Demands, host_pb2.LoadFailure],
    ) -> None:
        failures: asyncio.Queue[host_pb2.LoadFailure] = asyncio.Queue(_MAX_FAILURES)

        def on_failure(model: StoredModel, error: DroverError) -> None:
            if not failures.full():
                failures.put_nowait(
                    host_pb2.LoadFailure(model=model.name.short, digest=model.key, failure=failure_of(error))
                )

        async def ensure() -> None:
            caller = self._pool.add_caller(on_failure)
            reading = asyncio.create_task(self._read_demands(request_iterator, caller), name="read demands")
            taking: asyncio.Task[host_pb2.LoadFailure] | None = None
            try:
                while not reading.done():
                    taking = asyncio.create_task(failures.get(), name="next failure")
                    await asyncio.wait({reading, taking}, return_when=asyncio.FIRST_COMPLETED)
                    if taking.done():
                        await send(context, taking.result())
                    else:
                        taking.cancel()
                reading.result()
            finally:
                reading.cancel()
                if taking is not None:
                    taking.cancel()
                self._pool.remove_caller(caller)

        await guarded(context, ensure, _log)

    async def Release(self, request: host_pb2.ReleaseRequest, context: Context) -> host_pb2.ReleaseResponse:
        async def release() -> host_pb2.ReleaseResponse:
            return host_pb2.ReleaseResponse(found=self._pool.release(self._find(request.model)))

        return await guarded(context, release, _log)

    async def GetStored(self, request: host_pb2.GetStoredRequest, context: Context) -> engine_pb2.Model:
        async def get() -> engine_pb2.Model:
            model = self._find(request.model)
            return await asyncio.to_thread(self._catalog.described, model, request.verbose)

        return await guarded(context, get, _log)

    async def Delete(self, request: host_pb2.DeleteRequest, context: Context) -> host_pb2.DeleteResponse:
        async def delete() -> host_pb2.DeleteResponse:
            # Also a model that is not listed, since a file of it is missing or damaged.
            freed = await asyncio.to_thread(self._store.delete, _name(request.model), request.manifest)
            await self._pool.refresh()
            return host_pb2.DeleteResponse(freed_bytes=freed)

        return await guarded(context, delete, _log)

    async def FindBlob(
        self, request: host_pb2.FindBlobRequest, context: Context
    ) -> host_pb2.FindBlobResponse:
        async def find() -> host_pb2.FindBlobResponse:
            size = await asyncio.to_thread(self._store.blobs.find, request.digest)
            return host_pb2.FindBlobResponse(found=size is not None, size_bytes=size or 0)

        return await guarded(context, find, _log)

    async def PutBlob(
        self, request_iterator: AsyncIterator[host_pb2.BlobPart], context: Context
    ) -> host_pb2.PutBlobResponse:
        async def put() -> host_pb2.PutBlobResponse:
            with self._uploads.place():
                existed = await receive_blob(self._store, aiter(request_iterator))
            return host_pb2.PutBlobResponse(existed=existed)

        return await guarded(context, put, _log)

    async def Create(  # type: ignore[override]  # it writes by itself
        self,
        request: host_pb2.CreateRequest,
        context: grpc.aio.ServicerContext[host_pb2.CreateRequest, host_pb2.Progress],
    ) -> None:
        async def create() -> None:
            is_folder = any(file.endswith(".safetensors") for file in request.files)
            for status in ("reading safetensors" if is_folder else "parsing GGUF", "writing manifest"):
                await send(context, host_pb2.Progress(status=status))
            name = _name(request.model)
            async with self._creating:
                manifest = await asyncio.to_thread(self._creation.create, name, request)
            await self._pool.refresh()
            await send(context, host_pb2.Progress(status="success", manifest=manifest.digest))

        await guarded(context, create, _log)

    async def Pull(  # type: ignore[override]  # it writes by itself
        self,
        request: host_pb2.PullRequest,
        context: grpc.aio.ServicerContext[host_pb2.PullRequest, host_pb2.Progress],
    ) -> None:
        async def pull() -> None:
            steps = self._pulls.pull(_name(request.model), request.insecure)
            async with aclosing(steps):
                async for step in steps:
                    await send(context, step)

        await guarded(context, pull, _log)

    async def Push(  # type: ignore[override]  # it writes by itself
        self,
        request: host_pb2.PushRequest,
        context: grpc.aio.ServicerContext[host_pb2.PushRequest, host_pb2.Progress],
    ) -> None:
        async def push() -> None:
            steps = self._pushes.push(self._find(request.model).name, request.insecure)
            async with aclosing(steps):
                async for step in steps:
                    await send(context, step)

        await guarded(context, push, _log)

    async def Prune(self, request: host_pb2.PruneRequest, context: Context) -> host_pb2.PruneResponse:
        async def prune() -> host_pb2.PruneResponse:
            is_set = request.HasField("older_than_seconds")
            seconds = request.older_than_seconds if is_set else UPLOAD_SECONDS
            files, size = await asyncio.to_thread(self._store.prune, request.dry_run, seconds)
            return host_pb2.PruneResponse(files=files, bytes=size)

        return await guarded(context, prune, _log)

    @property
    def _catalog(self) -> Catalog:
        return self._pool.catalog

    def _find(self, text: str) -> StoredModel:
        return self._catalog.find(_name(text))

    async def _read_demands(self, demands: AsyncIterator[host_pb2.Demands], caller: Caller) -> None:
        async for each in demands:
            now = time.monotonic()
            self._pool.keep_replicas(each.only_replicas[:_MAX_DEMANDS])
            self._pool.set_waiting(
                caller,
                {
                    demand.digest: Demand(demand.digest, 0, now - demand.waited_ns / _NS, demand.extra)
                    for demand in each.demands[:_MAX_DEMANDS]
                    if demand.waiting and self._catalog.with_key(demand.digest) is not None
                },
            )


def _name(text: str) -> ModelName:
    name = ModelName.parse(text)
    if name is None:
        raise InvalidRequest(f"{text[:200]!r} is no model name")
    return name
