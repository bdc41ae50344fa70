"""The answers that are being given: each ends when its client leaves, time is over, or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from drover.concurrency import CancelScope, cancel_scope
from drover.errors import ClientLeft, DeadlineExceeded, WorkerDraining
from frontend.middleware.request_log import record_of
from frontend.routing.scheduling_headers import SchedulingHeaders
from frontend.settings import FrontendSettings


class InFlightRequests:
    """`draining`: the server is about to stop, and says so to probes."""

    def __init__(self, settings: FrontendSettings) -> None:
        self.heartbeat_seconds = settings.heartbeat_seconds
        self.draining = False
        self._max_priority = settings.max_priority
        self._deadline_seconds = settings.request_deadline_seconds
        self._answers: set[CancelScope] = set()

    @asynccontextmanager
    async def hold(self, scope: Scope, receive: Receive) -> AsyncGenerator[None, None]:
        """Around all work for an answer: cancels it and raises ClientLeft, DeadlineExceeded, or what
        `end_all` says; InvalidRequest for wishes that cannot be read. It costs a sleeping task, no polling.
        """
        wishes = SchedulingHeaders.read(Headers(scope=scope), self._max_priority)
        record_of(scope).priority = wishes.priority
        deadlines = (self._deadline_seconds, wishes.deadline_seconds)
        deadline_seconds = min((each for each in deadlines if each is not None), default=None)
        try:
            async with cancel_scope(deadline_seconds) as answer:
                self._answers.add(answer)
                watcher = asyncio.create_task(_watch(receive, answer), name="watch the client")
                try:
                    yield
                finally:
                    watcher.cancel()
                    self._answers.discard(answer)
        except TimeoutError:
            raise DeadlineExceeded(f"the request took longer than {deadline_seconds:g} seconds") from None

    def __len__(self) -> int:
        return len(self._answers)

    def end_all(self) -> int:
        """How many there were."""
        for answer in list(self._answers):
            answer.end(WorkerDraining("the server is shutting down and its grace is over"))
        return len(self._answers)


async def _watch(receive: Receive, answer: CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    answer.end(ClientLeft("request canceled"))
