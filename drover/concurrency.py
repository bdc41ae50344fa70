"""Helpers for asyncio: work in a thread, cancellation with a reason, a change signal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from drover.errors import DroverError

Result = TypeVar("Result")


async def run_in_thread_if_large(work: Callable[[], Result], length: int, inline: int) -> Result:
    """Return what `work` returns, or raise what it raises.

    It runs in a thread if `length` is above `inline` (of the same unit), so that the event loop stays
    responsive; below that the switch would cost more than the work.
    """
    if length <= inline:
        return work()
    return await asyncio.to_thread(work)


class CancelScope:
    """Work that others may cancel, giving a reason. Made by `cancel_scope`."""

    def __init__(self, scope: asyncio.Timeout) -> None:
        self._scope = scope
        self.reason: DroverError | None = None

    def end(self, reason: DroverError) -> None:
        """Cancel the work in the next turn of the event loop. The first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._scope.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def cancel_scope(deadline_seconds: float | None = None) -> AsyncGenerator[CancelScope, None]:
    """Context manager around the work.

    Raises the reason that `CancelScope.end` was given, or TimeoutError after the deadline.
    """
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
    """Wakes all waiters on each change. Any number of changes may pass between two looks of a waiter."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    @property
    def next_change(self) -> asyncio.Event:
        """Event of the next change. Get it before reading the state, or a change in between is missed."""
        return self._next

    def notify(self) -> None:
        self._next.set()
        self._next = asyncio.Event()


def is_cancelled() -> bool:
    """True if the running task itself was cancelled. Awaiting a cancelled call raises the same exception."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
