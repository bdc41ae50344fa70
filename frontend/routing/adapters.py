"""Brings adapters to the workers whose requests need them.

    failover, queued_call, fleet -> adapters -> managed_worker

A worker reports which adapters it has. What it lacks is sent before a request that needs it: a new worker,
one that lost its folder, and one that made room for others get an adapter that way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from drover import logs
from drover.errors import (
    AdapterMissing,
    DeadlineExceeded,
    DroverError,
    NoWorkerReady,
    RetryElsewhere,
    RetryLater,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.managed_worker import ManagedWorker

_log = logging.getLogger("drover.fleet")
# For the files on a slow network, and for llama.cpp to end its requests and start again.
_UPLOAD_SECONDS = 600.0

Response = TypeVar("Response")


class AdapterSource(Protocol):
    def parts(self, digest: str) -> AsyncGenerator[pb.AdapterPart, None]:
        """An upload of this adapter. Raises ModelNotFound if no model has it, StoreUnavailable."""


class AdapterDelivery:
    """One upload of an adapter to a worker at a time, which serves all requests that wait for it.

    `source` is set once, before the first request.
    """

    def __init__(self) -> None:
        self.source: AdapterSource | None = None
        self._uploads: dict[tuple[ManagedWorker, str], asyncio.Task[None]] = {}

    async def stop(self) -> None:
        tasks = list(self._uploads.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def ensure(self, digest: str, worker: ManagedWorker, is_missing: bool = False) -> None:
        """Give the worker the adapter unless it has it. `is_missing`: the worker answered AdapterMissing.

        Raises what the upload raises.
        """
        if is_missing or not _has(worker, digest):
            await asyncio.shield(self._upload(worker, digest))

    async def call(
        self, digest: str, worker: ManagedWorker, send: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Make a call to a worker that has the adapter; once more if it has lost it since it reported."""
        if not digest:
            return await send()
        await self.ensure(digest, worker)
        try:
            return await send()
        except AdapterMissing:
            await self.ensure(digest, worker, is_missing=True)
            return await send()

    async def place(self, digest: str, workers: Sequence[ManagedWorker]) -> None:
        """Give workers an adapter, one after the other: an engine may have to restart for it. A worker that
        cannot be reached gets it later.

        Raises InvalidRequest if it does not fit, and the last error if no worker has got it.
        """
        failure: DroverError = NoWorkerReady("no engine worker can take the adapter right now")
        placed = 0
        for worker in workers:
            try:
                await asyncio.shield(self._upload(worker, digest))
                placed += 1
            except (RetryElsewhere, RetryLater) as error:
                failure = error
        if not placed:
            raise failure

    async def remove(self, digest: str, workers: Sequence[ManagedWorker]) -> None:
        """Remove an adapter from workers. One that cannot be reached keeps it until it needs the room."""
        having = [worker for worker in workers if _has(worker, digest)]
        results = await asyncio.gather(
            *(worker.backend.delete_adapter(digest) for worker in having), return_exceptions=True
        )
        for worker, result in zip(having, results, strict=True):
            if worker.report is not None and digest in worker.report.adapters:
                worker.report.adapters.remove(digest)
            if isinstance(result, DroverError):
                logs.event(
                    _log,
                    logging.WARNING,
                    "adapter not removed",
                    worker=worker.address,
                    adapter=digest[:12],
                    reason=result.message,
                )
            elif isinstance(result, BaseException):
                raise result

    def _upload(self, worker: ManagedWorker, digest: str) -> asyncio.Task[None]:
        """The task that uploads it, which continues if a request that waits for it is cancelled."""
        key = worker, digest
        task = self._uploads.get(key)
        if task is None:
            task = self._uploads[key] = asyncio.create_task(
                self._send(worker, digest), name="send an adapter"
            )
            task.add_done_callback(lambda done: self._ended(key, done))
        return task

    def _ended(self, key: tuple[ManagedWorker, str], task: asyncio.Task[None]) -> None:
        del self._uploads[key]
        if not task.cancelled():
            # Retrieve the exception even if no request waits any more, or asyncio logs it as lost.
            task.exception()

    async def _send(self, worker: ManagedWorker, digest: str) -> None:
        assert self.source is not None
        upload = _Upload(self.source.parts(digest))
        try:
            async with asyncio.timeout(_UPLOAD_SECONDS), aclosing(upload.parts()) as parts:
                response = await worker.backend.put_adapter(parts)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the adapter did not reach the worker within {_UPLOAD_SECONDS:.0f} s, please try again"
            ) from None
        except DroverError as error:
            raise upload.failure or error from error
        if worker.report is not None and digest not in worker.report.adapters:
            worker.report.adapters.append(digest)
        if not response.existed:
            logs.event(
                _log,
                logging.INFO,
                "adapter sent",
                worker=worker.address,
                adapter=digest[:12],
                rank=response.rank,
            )


class _Upload:
    """Parts for gRPC, which ends a call whose parts raise, and drops the reason: that is kept here."""

    def __init__(self, parts: AsyncGenerator[pb.AdapterPart, None]) -> None:
        self._parts = parts
        self.failure: DroverError | None = None

    async def parts(self) -> AsyncGenerator[pb.AdapterPart, None]:
        try:
            async with aclosing(self._parts) as parts:
                async for part in parts:
                    yield part
        except DroverError as error:
            self.failure = error
            raise


def _has(worker: ManagedWorker, digest: str) -> bool:
    return worker.report is not None and digest in worker.report.adapters
