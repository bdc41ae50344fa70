"""Engine steps for stub servers, which run in other environments too: nothing but the standard library."""

from __future__ import annotations

import asyncio


class Steps:
    """The engine's steps: `done` of them; each sets the events of all requests."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.events: set[asyncio.Event] = set()
        self.done = 0

    async def run(self) -> None:
        """Steps follow each other without drift; lost time is never made good."""
        loop = asyncio.get_running_loop()
        end = loop.time()
        while True:
            now = loop.time()
            end = max(now, end + self._seconds)
            await asyncio.sleep(end - now)
            self.done += 1
            for event in self.events:
                event.set()
