"""Work that takes long, work that others cancel, and a signal that something has changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from drover.errors import DroverError

Result = TypeVar("Result")


async def run_in_thread_if_large(work: Callable[[], Result], length: int, inline: int) -> Result:
    """What `work` returns or raises. Of a `length` beyond `inline` it runs in a thread; below, the way to a
    thread and back would cost more than the work.
    """
    if length <= inline:
        return work()
    return await asyncio.to_thread(work)


class CancelScope:
    def __init__(self, scope: asyncio.Timeout) -> None:
        self._scope = scope
        self.reason: DroverError | None = None

    def end(self, reason: DroverError) -> None:
        """Cancels the work as soon as the loop turns. The first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._scope.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def cancel_scope(deadline_seconds: float | None = None) -> AsyncGenerator[CancelScope, None]:
    """Around the work. Raises the reason that somebody gave, or TimeoutError when the deadline has passed."""
    work: CancelScope | None = None
    try:
        async with asyncio.timeout(deadline_seconds) as scope:
            work = CancelScope(scope)
            yield work
    except TimeoutError:
        if work is not None and work.reason is not None:
            raise work.reason from None
        raise


class ChangeSignal:
    def __init__(self) -> None:
        self._next = asyncio.Event()

    @property
    def next_change(self) -> asyncio.Event:
        """Taken before looking at what the bell is for, so that no ring in between is missed."""
        return self._next

    def notify(self) -> None:
        self._next.set()
        self._next = asyncio.Event()
