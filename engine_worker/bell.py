"""Says to all who wait that there is something new to see."""

from __future__ import annotations

import asyncio


class Bell:
    def __init__(self) -> None:
        self._next = asyncio.Event()

    @property
    def next_ring(self) -> asyncio.Event:
        """Taken before looking at what the bell is for, so that no ring in between is missed."""
        return self._next

    def ring(self) -> None:
        self._next.set()
        self._next = asyncio.Event()
