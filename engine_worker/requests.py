"""The table of requests in flight: count, abort, wait until it is empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from drover.concurrency import CancelScope, cancel_scope
from drover.errors import ClientLeft, DroverError, InvalidRequest


class RequestTable:
    """The requests that run in this worker, by their ids."""

    def __init__(self) -> None:
        self._entries: dict[str, CancelScope] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def track(self, request_id: str) -> AsyncGenerator[None, None]:
        """Keep a request in the table. Raises the error with which `abort` or `end_all` ended it."""
        if request_id in self._entries:
            raise InvalidRequest(f"request id {request_id!r} is in use already")
        async with cancel_scope() as work:
            self._entries[request_id] = work
            self._empty.clear()
            try:
                yield
            finally:
                del self._entries[request_id]
                if not self._entries:
                    self._empty.set()

    def abort(self, request_id: str) -> bool:
        """End one request; True if the id was known."""
        entry = self._entries.get(request_id)
        if entry is not None:
            entry.end(ClientLeft("the request was aborted"))
        return entry is not None

    def end_all(self, reason: DroverError) -> int:
        """End all requests; return how many there were."""
        for entry in list(self._entries.values()):
            entry.end(reason)
        return len(self._entries)

    async def wait_empty(self, timeout_seconds: float) -> bool:
        """Wait until no request is left; False after the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
