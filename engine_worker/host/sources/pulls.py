"""Pulls: into the store, from the source of each name; pulls of one model share one download."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from drover import logs
from drover.concurrency import ChangeSignal
from drover.errors import (
    DroverError,
    InvalidRequest,
    NotTransferable,
    QueueFull,
    SourceFailed,
    internal_error,
)
from drover.names import ModelName
from drover.v1 import host_pb2
from engine_worker.host.metrics import HostCounts
from engine_worker.host.sources.base import RemoteFile, RemoteModel, Source
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.store.manifest import Layer, Manifest
from engine_worker.host.store.store import Store

_log = logging.getLogger("drover.host")
_SUCCESS = "success"
_SHORT_DIGEST = 12
_STEP_SECONDS = 0.1
# At once, of different models: each has a connection and blocks in memory.
_MAX_PULLS = 64
_MAX_SMALL_BYTES = 32 << 20

SourceOf = Callable[[ModelName, bool], Source]
"""The source of a name; the second argument: without TLS. Raises NotTransferable if it is not allowed."""


@dataclass(eq=False)
class _Pull:
    """`progress`: what a caller that comes now gets first: the newest state of each step."""

    task: asyncio.Task[None] | None = None
    steps: dict[str, host_pb2.Progress] = field(default_factory=dict)
    changed: ChangeSignal = field(default_factory=ChangeSignal)
    callers: int = 0
    error: DroverError | None = None
    is_over: bool = False

    @property
    def result(self) -> str:
        """As metrics name it, once it is over."""
        if self.error is not None:
            return "failed"
        return "ok" if f"{_SUCCESS} " in self.steps else "cancelled"

    def report(self, status: str, layer: Layer | None = None, completed: int = 0, manifest: str = "") -> None:
        step = host_pb2.Progress(status=status, manifest=manifest)
        if layer is not None:
            step.digest, step.total_bytes, step.completed_bytes = layer.digest, layer.size_bytes, completed
        self.steps[f"{status} {step.digest}"] = step
        self.changed.notify()


class _SmallFile:
    """Implements Partial, in memory."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.data = bytearray()

    @property
    def offset(self) -> int:
        return len(self.data)

    def write(self, data: bytes) -> None:
        if self.offset + len(data) > self.size_bytes:
            raise InvalidRequest(f"it has more than {self.size_bytes} bytes")
        self.data += data

    def restart(self) -> None:
        self.data.clear()


class Pulls:
    """`check` raises InvalidRequest for files that make no model. `on_change` is called when the store
    has a new one.
    """

    def __init__(
        self,
        store: Store,
        client: SourceClient,
        source_of: SourceOf,
        check: Callable[[ModelName, Manifest], None],
        on_change: Callable[[], Awaitable[None]],
        counts: HostCounts | None = None,
    ) -> None:
        self._counts = counts or HostCounts()
        self._check = check
        self._store = store
        self._client = client
        self._source_of = source_of
        self._on_change = on_change
        self._running: dict[str, _Pull] = {}
        self._writing: dict[str, tuple[asyncio.Lock, int]] = {}
        """By digest: a lock, and how many use it."""

    async def pull(self, name: ModelName, insecure: bool) -> AsyncGenerator[host_pb2.Progress, None]:
        """Yield the progress until the model is in the store. Leaving early ends the download if no other
        caller waits for it; what there is of it is kept.

        Raises NotTransferable, SourceFailed, InvalidRequest, StoreUnavailable; QueueFull for one too many.
        """
        pull = self._running.get(name.key)
        if pull is None:
            source = self._source_of(name, insecure)
            if len(self._running) >= _MAX_PULLS:
                raise QueueFull(f"{_MAX_PULLS} pulls run at this host, please try again later")
            pull = self._running[name.key] = _Pull()
            work = self._run(pull, name, source)
            pull.task = asyncio.create_task(work, name=f"pull {name.short}")
        pull.callers += 1
        try:
            async for step in _followed(pull):
                yield step
        finally:
            pull.callers -= 1
            if not pull.callers and pull.task is not None and not pull.is_over:
                pull.task.cancel()
                await asyncio.wait({pull.task})

    async def stop(self) -> None:
        tasks = [pull.task for pull in self._running.values() if pull.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, pull: _Pull, name: ModelName, source: Source) -> None:
        try:
            pull.report("pulling manifest")
            remote = await source.find(name)
            manifest = await self._fetch_all(pull, name, remote)
            logs.event(_log, logging.INFO, "pulled a model", model=name.short, mib=manifest.size_bytes >> 20)
            await self._on_change()
            pull.report(_SUCCESS, manifest=manifest.digest)
        except DroverError as error:
            pull.error = error
        except Exception as error:  # noqa: BLE001 - the callers must get an end
            _log.error("pulling %s failed", name.short, exc_info=error)
            pull.error = internal_error(error)
        finally:
            pull.is_over = True
            self._counts.pulls.labels(pull.result).inc()
            del self._running[name.key]
            pull.changed.notify()

    async def _fetch_all(self, pull: _Pull, name: ModelName, remote: RemoteModel) -> Manifest:
        """What is there already or soon stays until the model is listed, which may take hours."""
        held = {file.layer.digest for file in remote.files} - {""}
        with self._store.holding(held):
            files = []
            for file in remote.files:
                files.append(await self._fetch(pull, file))
                held.add(files[-1].digest)
            pull.report("verifying sha256 digest")
            pull.report("writing manifest")
            return await asyncio.to_thread(self._list, name, remote, files)

    def _list(self, name: ModelName, remote: RemoteModel, files: list[Layer]) -> Manifest:
        """Blocks."""
        manifest = remote.manifest or Manifest(files, self._store.put_config(files))
        self._check(name, manifest)
        self._store.put(name, manifest)
        return manifest

    async def _fetch(self, pull: _Pull, file: RemoteFile) -> Layer:
        layer = file.layer
        if not layer.digest:
            return await self._fetch_small(pull, file)
        status = f"pulling {short_digest(layer)}"
        async with self._alone(layer.digest):
            if await asyncio.to_thread(self._store.blobs.size, layer.digest) == layer.size_bytes:
                pull.report(status, layer, layer.size_bytes)
                return layer
            partial = await asyncio.to_thread(self._store.blobs.begin, layer.digest, layer.size_bytes)
            before = partial.offset
            try:
                pull.report(status, layer, before)
                await self._client.download(file, partial, lambda done: pull.report(status, layer, done))
                await asyncio.to_thread(partial.commit)
            finally:
                self._counts.pulled_bytes.inc(max(0, partial.offset - before))
                partial.close()
        return layer

    async def _fetch_small(self, pull: _Pull, file: RemoteFile) -> Layer:
        """A file whose digest is not known before it is here."""
        layer, url = file.layer, file.url
        if layer.size_bytes > _MAX_SMALL_BYTES:
            raise NotTransferable(
                f"{layer.title or url} has {layer.size_bytes} bytes and the source names no SHA-256 of it; "
                f"at most {_MAX_SMALL_BYTES} are taken so"
            )
        small = _SmallFile(layer.size_bytes)
        is_listed = True
        try:
            await self._client.download(file, small, lambda done: None)
        except InvalidRequest:
            is_listed = False
        data = bytes(small.data)
        if not is_listed or (file.git_id and git_id_of(data) != file.git_id):
            raise SourceFailed(f"{url} is not the file that the source lists")
        fetched = replace(layer, digest=await asyncio.to_thread(self._store.blobs.put, data))
        pull.report(f"pulling {short_digest(fetched)}", fetched, fetched.size_bytes)
        return fetched

    @asynccontextmanager
    async def _alone(self, digest: str) -> AsyncIterator[None]:
        """Models may share files."""
        lock, users = self._writing.get(digest, (asyncio.Lock(), 0))
        self._writing[digest] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._writing.pop(digest)
            if users > 1:
                self._writing[digest] = lock, users - 1


def short_digest(layer: Layer) -> str:
    """As progress shows it."""
    return layer.digest.removeprefix("sha256:")[:_SHORT_DIGEST]


def git_id_of(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


async def _followed(pull: _Pull) -> AsyncGenerator[host_pb2.Progress, None]:
    """The newest state of each step, as often as a person can read it. Raises the pull's error."""
    sent: dict[str, host_pb2.Progress] = {}
    while True:
        changed = pull.changed.next_change
        is_over, error = pull.is_over, pull.error
        for key, step in list(pull.steps.items()):
            if sent.get(key) is not step:
                sent[key] = step
                yield step
        if error is not None:
            raise type(error)(error.message)
        if is_over:
            if pull.result != "ok":
                raise NotTransferable("the pull was cancelled")
            return
        await changed.wait()
        await asyncio.sleep(_STEP_SECONDS)
