"""Single flight for a refresh that must be newer than its callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager


class RefreshGate:
    """One refresh or change at a time. A caller is served by any refresh that started after it called; one
    that was already running may have read before the change that the caller looks for.

        A calls          refresh 1 starts         A needs refresh 1
        B, C call        refresh 1 runs           B and C need refresh 2
        refresh 1 ends   A returns; B starts refresh 2; C waits
        refresh 2 ends   B and C return: one refresh for both

    A refresh that fails raises in its own caller; the next waiting caller starts another.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._last_started = 0
        self._last_succeeded = 0

    async def run(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Return after a refresh that started after this call, by this caller or another. Raises what
        `refresh` raises.
        """
        needed = self._last_started + 1
        async with self._lock:
            if self._last_succeeded >= needed:
                return
            self._last_started += 1
            number = self._last_started
            await refresh()
            self._last_succeeded = number

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None, None]:
        """Hold off refreshes and other changes."""
        async with self._lock:
            yield
