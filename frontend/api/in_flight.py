"""Requests in flight: each is aborted when its client leaves, its deadline passes, or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from drover.concurrency import CancelScope, cancel_scope
from drover.errors import ClientLeft, DeadlineExceeded, WorkerDraining
from frontend.observability.request_record import RequestRecord, record_of
from frontend.routing.scheduling_headers import PRIORITY, SchedulingHeaders
from frontend.settings import FrontendSettings


class InFlightRequests:
    """`draining`: the server is about to stop, and probes say so."""

    def __init__(self, settings: FrontendSettings) -> None:
        self.heartbeat_seconds = settings.heartbeat_seconds
        self.draining = False
        self._default_max_priority = settings.max_priority
        self._deadline_seconds = settings.request_deadline_seconds
        self._scopes: set[CancelScope] = set()

    def scheduling(self, scope: Scope) -> SchedulingHeaders:
        """Read the request's scheduling headers, once. Raises InvalidRequest."""
        record = record_of(scope)
        if record.scheduling is None:
            record.scheduling = SchedulingHeaders.read(Headers(scope=scope), self._max_priority(record))
        return record.scheduling

    def prioritise(self, scope: Scope, priority: int) -> bool:
        """Use the priority of a request's body unless a header has one. False if it is bounded or overridden.

        Raises InvalidRequest for scheduling headers that cannot be read.
        """
        record, scheduling = record_of(scope), self.scheduling(scope)
        if not Headers(scope=scope).get(PRIORITY, "").strip():
            record.scheduling = scheduling.with_priority(priority, self._max_priority(record))
        return record.scheduling is not None and record.scheduling.priority == priority

    def _max_priority(self, record: RequestRecord) -> int:
        """The key's, where it has one."""
        if record.key is None or record.key.priority is None:
            return self._default_max_priority
        return record.key.priority

    @asynccontextmanager
    async def track(self, scope: Scope, receive: Receive) -> AsyncGenerator[None, None]:
        """Cancel the block when the client leaves, the deadline passes or `abort_all` is called; then it
        raises ClientLeft, DeadlineExceeded or WorkerDraining. Raises InvalidRequest for scheduling headers
        that cannot be read.
        """
        deadlines = (self._deadline_seconds, self.scheduling(scope).deadline_seconds)
        deadline_seconds = min((each for each in deadlines if each is not None), default=None)
        try:
            async with cancel_scope(deadline_seconds) as request:
                self._scopes.add(request)
                watcher = asyncio.create_task(_watch(receive, request), name="watch the client")
                try:
                    yield
                finally:
                    watcher.cancel()
                    self._scopes.discard(request)
        except TimeoutError:
            if deadline_seconds is None:
                raise
            raise DeadlineExceeded(f"the request took longer than {deadline_seconds:g} seconds") from None

    def __len__(self) -> int:
        return len(self._scopes)

    def abort_all(self) -> int:
        """Abort the requests in flight; returns how many there were."""
        for request in list(self._scopes):
            request.end(WorkerDraining("the server is shutting down: drain timeout reached"))
        return len(self._scopes)


@asynccontextmanager
async def until_client_leaves(receive: Receive) -> AsyncGenerator[None, None]:
    """Cancel the block when the client leaves; then it raises ClientLeft."""
    async with cancel_scope() as request:
        watcher = asyncio.create_task(_watch(receive, request), name="watch the client")
        try:
            yield
        finally:
            watcher.cancel()


async def _watch(receive: Receive, request: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    request.end(ClientLeft("request canceled"))
