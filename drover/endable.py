"""Work that others can end, with a reason, wherever it waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from drover.errors import DroverError


class Endable:
    def __init__(self, scope: asyncio.Timeout) -> None:
        self._scope = scope
        self.reason: DroverError | None = None

    def end(self, reason: DroverError) -> None:
        """Cancels the work as soon as the loop turns. The first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._scope.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def endable(deadline_seconds: float | None = None) -> AsyncGenerator[Endable, None]:
    """Around the work. Raises the reason that somebody gave, or TimeoutError when the deadline has passed."""
    work: Endable | None = None
    try:
        async with asyncio.timeout(deadline_seconds) as scope:
            work = Endable(scope)
            yield work
    except TimeoutError:
        if work is not None and work.reason is not None:
            raise work.reason from None
        raise
