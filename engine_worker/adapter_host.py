"""The adapters of a running worker: which there are, who uses them, and what the engine has of them.

Uploads are kept in a folder, one folder for each adapter by its digest, so that a restarted worker has them
again. There is room for a number of adapters; the one that was not used for longest makes room.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Generator, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
)
from dataclasses import dataclass
from pathlib import Path

from drover import logs
from drover.adapters import is_hex_digest
from drover.concurrency import ChangeSignal
from drover.errors import AdapterMissing, DroverError, InvalidRequest, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import TEMPORARY, Adapter, read_adapter
from engine_worker.adapters.fit import check_fits, read_fitting
from engine_worker.adapters.folder_lock import lock_folder
from engine_worker.adapters.named import NamedFiles
from engine_worker.adapters.received import check_header, check_size, receive_files
from engine_worker.engines.base import Engine
from engine_worker.model_lifecycle import ModelLifecycle

_log = logging.getLogger("drover.worker")
_UPLOADS_AT_ONCE = 2
UsesAdapter = pb.GenerateRequest | pb.RerankRequest | pb.ScoreRequest


@dataclass(frozen=True, slots=True)
class AdapterLimits:
    """`count` and `total_bytes` of all adapters together, `rank` of each."""

    count: int
    total_bytes: int
    rank: int


class AdapterHost:
    """`folder`: where uploads are kept. `changed` is notified when there are other adapters.

    A change of the engine's adapters is one task at a time, which continues if its caller leaves.
    """

    def __init__(
        self,
        engine: Engine,
        lifecycle: ModelLifecycle,
        folder: Path,
        limits: AdapterLimits,
        changed: ChangeSignal,
    ) -> None:
        self._engine = engine
        self._lifecycle = lifecycle
        self._folder = folder
        self._limits = limits
        self._changed = changed
        # The least recently used one first.
        self._adapters: dict[str, Adapter] = {}
        self._users: dict[str, int] = {}
        self._change = asyncio.Lock()
        self._uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)
        self._tasks: set[asyncio.Task[object]] = set()
        self._lock: int | None = None
        self._named: list[pb.NamedAdapter] = []
        self.applied = ""
        """The digest of the adapter that all requests get."""

    async def start(self) -> None:
        """Use what an earlier run of the worker kept; what does not fit any more is deleted. Raises OSError,
        also if another worker uses the folder.
        """
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        self._lock = await asyncio.to_thread(lock_folder, self._folder)
        kept = await asyncio.to_thread(self._read_kept)
        async with self._change:
            await self._use_all(kept)
        self._changed.notify()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def digests(self) -> Sequence[str]:
        return list(self._adapters)

    @property
    def _held(self) -> set[str]:
        return {each.adapter.digest for each in self._named} | ({self.applied} - {""})

    async def hold(self, found: Sequence[NamedFiles]) -> None:
        """Add the operator's adapters, which stay; all at once, since the engine may have to restart. Raises
        as `put`, and OSError.
        """
        self._named = [files.named for files in found]
        await self._hold(found)

    async def apply(self, files: NamedFiles) -> None:
        """Add the adapter that all requests get. Raises as `hold`."""
        self.applied = files.named.adapter.digest
        await self._hold([files])

    def describe(self, model: pb.Model) -> None:
        """Add what adapters make of it: a model with one of its own takes no other, and is another model."""
        model.named_adapters.extend(self._named)
        if self.applied:
            model.capabilities.gguf_adapters = model.capabilities.safetensors_adapters = False
            model.digest = hashlib.sha256(f"{model.digest} {self.applied}".encode()).hexdigest()

    async def _hold(self, found: Sequence[NamedFiles]) -> None:
        missing = {files.named.adapter.digest: files for files in found}
        if len(missing) > self._limits.count:
            raise InvalidRequest(
                f"there are {len(missing)} adapters, and the worker has at most {self._limits.count} "
                "(--max-adapters)"
            )
        async with self._change:
            new = [
                await asyncio.to_thread(self._copy, files)
                for digest, files in missing.items()
                if digest not in self._adapters
            ]
            await self._use(new)

    def _copy(self, files: NamedFiles) -> Adapter:
        """Blocking."""
        header = files.named.adapter
        try:
            check_header(header, self._limits.total_bytes)
            with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self._folder) as incoming:
                files.copy_to(Path(incoming))
                _move(Path(incoming), self._folder / header.digest)
            adapter = read_fitting(
                header.digest, self._folder / header.digest, self._engine.model(), self._limits.rank
            )
        except DroverError as error:
            shutil.rmtree(self._folder / header.digest, ignore_errors=True)
            raise InvalidRequest(f"{files.named.name}: {error.message}") from error
        return adapter

    @contextmanager
    def using(self, digest: str) -> Generator[None, None, None]:
        """Keep an adapter for a request. Raises AdapterMissing."""
        adapter = self._adapters.pop(digest, None)
        if adapter is None:
            raise AdapterMissing("this worker does not have the adapter of the request")
        self._adapters[digest] = adapter
        self._users[digest] = self._users.get(digest, 0) + 1
        try:
            yield
        finally:
            self._users[digest] -= 1
            if not self._users[digest]:
                del self._users[digest]

    async def put(self, parts: AsyncIterator[pb.AdapterPart]) -> pb.PutAdapterResponse:
        """Receive an adapter and let the engine load it. Raises InvalidRequest for one that does not fit,
        QueueFull while all others are in use.
        """
        first = await anext(parts, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidRequest("adapters: an upload begins with its header")
        header = first.header
        check_header(header, self._limits.total_bytes)
        if (known := self._adapters.get(header.digest)) is not None:
            return pb.PutAdapterResponse(rank=known.rank, existed=True)
        async with self._uploads:
            incoming = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=TEMPORARY, dir=self._folder))
            try:
                await receive_files(header, parts, incoming)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, incoming, ignore_errors=True)
                raise
            return await self._owned(self._add_and_clean(header.digest, incoming))

    def delete(self, digest: str) -> bool:
        """Forget an adapter at once, unless it is the operator's. The engine unloads it, and its files go,
        once no request uses it.
        """
        if digest in self._held:
            return False
        adapter = self._adapters.pop(digest, None)
        if adapter is None:
            return False
        self._changed.notify()
        self._start(self._forget(adapter))
        return True

    async def _add_and_clean(self, digest: str, incoming: Path) -> pb.PutAdapterResponse:
        """The task owns the folder of the upload: the caller may leave before its files are moved."""
        try:
            return await self._add(digest, incoming)
        finally:
            await asyncio.to_thread(shutil.rmtree, incoming, ignore_errors=True)

    async def _add(self, digest: str, incoming: Path) -> pb.PutAdapterResponse:
        async with self._change:
            if (known := self._adapters.get(digest)) is not None:
                return pb.PutAdapterResponse(rank=known.rank, existed=True)
            folder = self._folder / digest
            try:
                await asyncio.to_thread(_move, incoming, folder)
                model, rank = self._engine.model(), self._limits.rank
                adapter = await asyncio.to_thread(read_fitting, digest, folder, model, rank)
                await self._use([adapter])
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
                raise
        logs.event(
            _log,
            logging.INFO,
            "adapter added",
            adapter=digest[:12],
            rank=adapter.rank,
            bytes=adapter.size_bytes,
        )
        return pb.PutAdapterResponse(rank=adapter.rank)

    async def _use(self, new: Sequence[Adapter]) -> None:
        """Give the engine more adapters, and make room for them."""
        removed = self._to_remove(new)
        kept = [each for each in self._adapters.values() if each not in removed]
        for each in removed:
            del self._adapters[each.digest]
        try:
            await self._set([*kept, *new])
        except BaseException:
            self._adapters.update((each.digest, each) for each in removed)
            raise
        self._adapters.update((each.digest, each) for each in new)
        self._changed.notify()
        for each in removed:
            await asyncio.to_thread(shutil.rmtree, each.folder, ignore_errors=True)

    def _to_remove(self, new: Sequence[Adapter]) -> Sequence[Adapter]:
        """Those to remove for new ones, least recently used first. Raises QueueFull, and InvalidRequest for
        what is too large alone: a conversion has made it larger than the upload was.
        """
        new_bytes = sum(each.size_bytes for each in new)
        check_size(new_bytes, self._limits.total_bytes)
        removed: list[Adapter] = []
        needed = self._users.keys() | self._held
        unused = [each for each in self._adapters.values() if each.digest not in needed]
        count = len(self._adapters) + len(new)
        size = new_bytes + sum(each.size_bytes for each in self._adapters.values())
        while count > self._limits.count or size > self._limits.total_bytes:
            if not unused:
                raise QueueFull(f"all {len(self._adapters)} adapters of the worker are in use, try again")
            oldest = unused.pop(0)
            removed.append(oldest)
            count, size = count - 1, size - oldest.size_bytes
        return removed

    async def _set(self, adapters: Sequence[Adapter]) -> None:
        """With the model in memory: an engine may have given it up, and cannot change it then."""
        needs_idle = self._engine.adapters_need_idle(adapters)
        async with self._lifecycle.exclusive() if needs_idle else self._lifecycle.use():
            await self._engine.use_adapters(adapters)

    async def _forget(self, adapter: Adapter) -> None:
        async with self._change:
            if adapter.digest in self._adapters:
                return
            try:
                await self._set(list(self._adapters.values()))
            except DroverError as error:
                logs.event(
                    _log,
                    logging.WARNING,
                    "adapter not unloaded",
                    adapter=adapter.digest[:12],
                    reason=error.message,
                )
            await asyncio.to_thread(shutil.rmtree, adapter.folder, ignore_errors=True)
        logs.event(_log, logging.INFO, "adapter removed", adapter=adapter.digest[:12])

    async def _use_all(self, kept: Sequence[Adapter]) -> None:
        """Those that the engine can load; at once, if it can load them all: it may have to restart for it."""
        try:
            if kept:
                await self._set(kept)
            self._adapters = {adapter.digest: adapter for adapter in kept}
        except DroverError:
            for adapter in kept:
                await self._use_kept(adapter)

    async def _use_kept(self, adapter: Adapter) -> None:
        try:
            await self._use([adapter])
        except DroverError as error:
            logs.event(
                _log, logging.WARNING, "adapter not used", adapter=adapter.digest[:12], reason=error.message
            )
            await asyncio.to_thread(shutil.rmtree, adapter.folder, ignore_errors=True)

    def _read_kept(self) -> Sequence[Adapter]:
        """The newest adapters in the folder for which there is room, the oldest of them first. Others, and
        uploads that were cut off, are removed.
        """
        for folder in self._folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(folder, ignore_errors=True)
        adapters: list[Adapter] = []
        room = self._limits.total_bytes
        folders = [folder for folder in self._folder.iterdir() if is_hex_digest(folder.name)]
        for folder in sorted(folders, key=lambda folder: -folder.stat().st_mtime_ns):
            try:
                adapter = read_adapter(folder.name, folder)
                check_fits(adapter, self._engine.model(), self._limits.rank)
                room -= adapter.size_bytes
                if len(adapters) == self._limits.count or room < 0:
                    raise InvalidRequest("there is no room for it")
                adapters.append(adapter)
            except (DroverError, OSError) as error:
                logs.event(_log, logging.WARNING, "adapter removed", adapter=folder.name, reason=str(error))
                shutil.rmtree(folder, ignore_errors=True)
        return adapters[::-1]

    async def _owned(self, work: Coroutine[object, object, pb.PutAdapterResponse]) -> pb.PutAdapterResponse:
        """Wait for a task that outlives the caller."""
        task = asyncio.create_task(work, name="change adapters")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Retrieve the exception even if the caller has left, or asyncio logs it as lost.
            task.exception()

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="change adapters")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def in_use(adapters: AdapterHost | None, request: UsesAdapter) -> AbstractContextManager[None]:
    """Keep the adapter of a request while it runs: the one that it names, else the one that all requests get,
    which is written into it. Raises AdapterMissing.
    """
    if adapters is not None and adapters.applied and not request.adapter:
        request.adapter = adapters.applied
    if not request.adapter:
        return nullcontext()
    if adapters is None:
        raise AdapterMissing("this worker takes no adapters")
    return adapters.using(request.adapter)


def _move(incoming: Path, folder: Path) -> None:
    """Move the files of an upload to their place; the folder of the upload stays, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path in incoming.iterdir():
        path.rename(folder / path.name)
