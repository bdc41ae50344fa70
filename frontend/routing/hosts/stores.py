"""The stores of all hosts as one: where models are pulled to, created and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing, suppress
from hashlib import blake2b
from itertools import repeat
from typing import TypeVar, cast

import grpc

from drover.errors import (
    DeadlineExceeded,
    DroverError,
    ModelNotFound,
    NoWorkerReady,
    StoreUnavailable,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2, host_pb2
from frontend.routing.backends.grpc.boundary import boundary, read
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.hosts.removal_rows import Removal
from frontend.routing.hosts.removals import Removals
from frontend.routing.hosts.watched_host import WatchedHost

_ANSWER_SECONDS = 30.0
# How long a host that was lost is waited for: it may only be restarting.
_AWAY_SECONDS = 10.0
_UPLOADS = "uploads"
_PIECE_BYTES = 1024 * 1024
# How long a host may take for a piece of an upload.
_WRITE_SECONDS = 60.0
BlobCall = grpc.aio.StreamUnaryCall[host_pb2.BlobPart, host_pb2.PutBlobResponse]
Request = TypeVar("Request")
Message = TypeVar("Message")


class HostStores:
    """Raises NoWorkerReady if no host can be reached, and what the hosts answer."""

    def __init__(self, hosts: Hosts, removals: Removals) -> None:
        self._hosts = hosts
        self._removals = removals

    @property
    def exist(self) -> bool:
        """Whether this frontend has hosts at all."""
        return self._hosts.are_configured

    def has(self, name_key: str) -> bool:
        return self._hosts.find(name_key) is not None

    async def pull(self, name: str, name_key: str, insecure: bool) -> AsyncGenerator[host_pb2.Progress, None]:
        """To the host that has the model already, else to the one with most disk. Closing it ends the pull
        unless another client waits for it.
        """
        holders = self._holders(name_key)
        host = holders[0] if holders else max(self._ready(), key=_disk_free)
        await self._removals.settle(host, name_key)
        # As it is spelt there: registries distinguish letter case, names here do not.
        known = host.served.get(name_key)
        spelt = known.name.short if known is not None else name
        call = host.stub.Pull(host_pb2.PullRequest(model=spelt, insecure=insecure))
        async for step in self._until_listed(_messages(call), host, name_key):
            yield step

    async def describe(self, name: str, name_key: str, verbose: bool) -> engine_pb2.Model:
        """A stored model with its tensors, without loading it. Raises ModelNotFound."""
        host = await self._holder(name, name_key)
        with boundary():
            request = host_pb2.GetStoredRequest(model=name, verbose=verbose)
            model = await host.stub.GetStored(request, timeout=_ANSWER_SECONDS)
        return read(model)

    async def push(self, name: str, name_key: str, insecure: bool) -> AsyncGenerator[host_pb2.Progress, None]:
        """From a host that has the model. Closing it ends the push. Raises ModelNotFound."""
        host = await self._holder(name, name_key)
        call = host.stub.Push(host_pb2.PushRequest(model=name, insecure=insecure))
        async with aclosing(_messages(call)) as steps:
            async for step in steps:
                yield step

    async def create(
        self, request: host_pb2.CreateRequest, name_key: str
    ) -> AsyncGenerator[host_pb2.Progress, None]:
        """On the host that has the files."""
        host = await self._host_with({*request.files.values(), *request.adapters.values()})
        await self._removals.settle(host, name_key)
        call = host.stub.Create(request)
        async for step in self._until_listed(_messages(call), host, name_key):
            yield step

    async def copy(self, source: str, source_key: str, name: str, name_key: str) -> None:
        """On every host that has the newest model `source` and can be reached. Raises ModelNotFound, and
        what a host answers if none has made it.
        """
        await self._holder(source, source_key)
        request = host_pb2.CreateRequest(model=name, copy_of=source)
        holders = self._holders(source_key)
        failures = await asyncio.gather(*(self._copy_on(host, request, name_key) for host in holders))
        if None not in failures:
            raise next(filter(None, failures), self._unreachable(source, source_key))

    async def _copy_on(
        self, host: WatchedHost, request: host_pb2.CreateRequest, name_key: str
    ) -> DroverError | None:
        """The host's error."""
        try:
            await self._removals.settle(host, name_key)
            async for _ in self._until_listed(_messages(host.stub.Create(request)), host, name_key):
                pass
        except DroverError as error:
            return error
        return None

    async def delete(self, name: str, name_key: str) -> None:
        """From every store: of hosts that are away once they are back. Raises ModelNotFound, and what a host
        answers, after it is deleted from the others; StoreUnavailable if hosts are away and the database is
        too, before anything is deleted.
        """
        ready, away = self._hosts.with_name(name_key)
        if not ready and not away:
            raise ModelNotFound(f"model '{name}' not found")
        # As it is now: it may change while the rows are written.
        removals = [_removal(host, name_key) for host in ready]
        if away:
            await self._removals.add([_removal(host, name_key) for host in away])
        failures = await asyncio.gather(*map(self._delete_from, ready, repeat(name), removals))
        for failure in filter(None, failures):
            raise failure
        await self._hosts.wait_for(lambda: not self._hosts.is_listed(name_key))

    async def delete_unlisted(self, name: str) -> bool:
        """Delete a model that no host lists, since a file of it is missing or damaged, and whose manifest is
        still there. Whether a host that is ready had it. Raises what a host answers else.
        """
        hosts = [host for host in self._hosts.all if host.is_ready]
        failures = await asyncio.gather(*(_delete(host, name) for host in hosts))
        for failure in failures:
            if failure is not None and not isinstance(failure, ModelNotFound):
                raise failure
        return None in failures

    async def _delete_from(self, host: WatchedHost, name: str, removal: Removal) -> DroverError | None:
        """The host's error. One that is lost meanwhile is away, as others are."""
        failure = await _delete(host, name)
        if isinstance(failure, ModelNotFound):
            # Another client was first.
            return None
        if isinstance(failure, WorkerUnreachable | DeadlineExceeded):
            try:
                await self._removals.add([removal])
            except DroverError as error:
                return error
            return None
        return failure

    @property
    def can_be_reached(self) -> bool:
        """Whether one of the hosts can."""
        return self._hosts.any_ready

    async def blob_size(self, digest: str) -> int | None:
        """In bytes; None if the host that takes uploads does not have it."""
        with boundary():
            request = host_pb2.FindBlobRequest(digest=digest)
            found = await self._upload_host().stub.FindBlob(request, timeout=_ANSWER_SECONDS)
        return found.size_bytes if read(found).found else None

    async def put_blob(self, digest: str, data: AsyncGenerator[bytes, None]) -> bool:
        """True if it is new. Raises InvalidRequest if the data do not have the digest, and what `data`
        raises.
        """
        call = self._upload_host().stub.PutBlob()
        # Not an iterator for gRPC to read: it would hide why the data end, and be read after the call.
        writing = asyncio.create_task(_write_blob(call, digest, data), name="upload a blob")

        def ended(_: object) -> None:
            """The host may answer before it has read all."""
            writing.cancel()

        call.add_done_callback(ended)
        try:
            await asyncio.wait({writing})
            if not writing.cancelled():
                writing.result()
            with boundary():
                return not read(await call).existed
        except WorkerUnreachable as error:
            raise StoreUnavailable(
                "the worker host ended the upload; its log has the reason, please try again"
            ) from error
        finally:
            writing.cancel()
            call.cancel()
            await asyncio.wait({writing})

    async def _until_listed(
        self, steps: AsyncGenerator[host_pb2.Progress, None], host: WatchedHost, name_key: str
    ) -> AsyncGenerator[host_pb2.Progress, None]:
        """The steps, the last one when this frontend lists the model of the host: the client may ask for it
        at once, or remove it.
        """
        async with aclosing(steps):
            async for step in steps:
                if manifest := step.manifest:
                    await self._hosts.wait_for(lambda: _manifest_at(host, name_key) == manifest)
                yield step

    def _manifest_of(self, name_key: str) -> str:
        model = self._hosts.find(name_key)
        return model.info.manifest if model else ""

    def _ready(self) -> Sequence[WatchedHost]:
        ready = [host for host in self._hosts.all if host.is_ready]
        if not ready:
            raise NoWorkerReady("no worker host can be reached right now, please try again")
        return ready

    def _holders(self, name_key: str) -> Sequence[WatchedHost]:
        """Hosts with the newest model of the name."""
        manifest = self._manifest_of(name_key)
        return [host for host in self._hosts.with_name(name_key)[0] if manifest in host.stored]

    async def _holder(self, name: str, name_key: str) -> WatchedHost:
        """A host with the newest model of the name, which is waited for if it is away for a moment. Raises
        ModelNotFound.
        """
        manifest = self._manifest_of(name_key)

        def ready() -> Sequence[WatchedHost]:
            return [host for host in self._hosts.all if host.is_ready and manifest in host.stored]

        if not ready() and self._hosts.may_return(manifest, _AWAY_SECONDS):
            await self._hosts.wait_for(lambda: bool(ready()), _AWAY_SECONDS)
        if not (found := ready()):
            raise self._unreachable(name, name_key)
        return found[0]

    def _unreachable(self, name: str, name_key: str) -> DroverError:
        if not self.has(name_key):
            return ModelNotFound(f"model '{name}' not found")
        return NoWorkerReady(f"no worker host that has '{name}' can be reached right now, please try again")

    async def _host_with(self, digests: Collection[str]) -> WatchedHost:
        """The host that takes uploads, unless another one took these: hosts may have joined or left since."""
        usual = self._upload_host()
        for host in sorted(self._ready(), key=lambda each: each is not usual):
            if all(await asyncio.gather(*(self._has_blob(host, digest) for digest in digests))):
                return host
        return usual

    async def _has_blob(self, host: WatchedHost, digest: str) -> bool:
        try:
            with boundary():
                request = host_pb2.FindBlobRequest(digest=digest)
                return read(await host.stub.FindBlob(request, timeout=_ANSWER_SECONDS)).found
        except DroverError:
            return False

    def _upload_host(self) -> WatchedHost:
        """The same for all frontends, since a client's requests may go to several."""
        return min(self._ready(), key=lambda host: blake2b(f"{host.id} {_UPLOADS}".encode()).digest())


async def _delete(host: WatchedHost, name: str) -> DroverError | None:
    """The host's error."""
    try:
        with boundary():
            await host.stub.Delete(host_pb2.DeleteRequest(model=name), timeout=_ANSWER_SECONDS)
    except DroverError as error:
        return error
    return None


def _manifest_at(host: WatchedHost, name_key: str) -> str:
    model = host.served.get(name_key)
    return model.info.manifest if model else ""


def _disk_free(host: WatchedHost) -> int:
    return host.state.disk_free_bytes if host.state else 0


def _removal(host: WatchedHost, name_key: str) -> Removal:
    return Removal(host.id, name_key, host.manifest_of(name_key))


async def _write_blob(call: BlobCall, digest: str, data: AsyncGenerator[bytes, None]) -> None:
    """Raises what `data` raises, StoreUnavailable if the host takes no more. Failed writes are not reported
    here: the call has the status.
    """
    async with aclosing(data):
        with suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            await _write(call, host_pb2.BlobPart(digest=digest))
            async for chunk in data:
                for begin in range(0, len(chunk), _PIECE_BYTES):
                    await _write(call, host_pb2.BlobPart(data=chunk[begin : begin + _PIECE_BYTES]))
            await call.done_writing()


async def _write(call: BlobCall, part: host_pb2.BlobPart) -> None:
    """A host whose disk hangs would keep the client for ever, whose end is seen only where it is read."""
    limit = asyncio.timeout(_WRITE_SECONDS)
    try:
        async with limit:
            await call.write(part)
    except (TimeoutError, asyncio.CancelledError):
        # The call is cancelled with its write, and its end cancels this task.
        if not limit.expired():
            raise
        raise StoreUnavailable(
            f"the worker host took nothing of the upload for {_WRITE_SECONDS:g} s, please try again"
        ) from None


async def _messages(call: grpc.aio.UnaryStreamCall[Request, Message]) -> AsyncGenerator[Message, None]:
    try:
        with boundary():
            while (message := await call.read()) is not grpc.aio.EOF:
                yield read(cast(Message, message))
            if await call.code() is not grpc.StatusCode.OK:
                raise NoWorkerReady("the host closed the stream early")
    finally:
        call.cancel()
