"""The answers that are being given: each ends when its client leaves, time is over, or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.types import Receive

from drover.endable import Endable, endable
from drover.errors import ClientLeft, DeadlineExceeded, WorkerDraining


class OpenAnswers:
    def __init__(self) -> None:
        self._answers: set[Endable] = set()

    @asynccontextmanager
    async def hold(self, receive: Receive, deadline_seconds: float | None) -> AsyncGenerator[None, None]:
        """Around all work for an answer: cancels it and raises ClientLeft, DeadlineExceeded, or what
        `end_all` says. It costs a sleeping task, no polling.
        """
        try:
            async with endable(deadline_seconds) as answer:
                self._answers.add(answer)
                watcher = asyncio.create_task(_watch(receive, answer), name="watch the client")
                try:
                    yield
                finally:
                    watcher.cancel()
                    self._answers.discard(answer)
        except TimeoutError:
            raise DeadlineExceeded(f"the request took longer than {deadline_seconds:g} seconds") from None

    def end_all(self) -> int:
        """How many there were."""
        for answer in list(self._answers):
            answer.end(WorkerDraining("the server is shutting down and its grace is over"))
        return len(self._answers)


async def _watch(receive: Receive, answer: Endable) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
    answer.end(ClientLeft("request canceled"))
