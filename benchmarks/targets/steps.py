"""Engine steps for stub servers. Standard library only, since they run in other environments too."""

from __future__ import annotations

import asyncio


class Steps:
    """The engine's steps: `done` of them; each sets the events of all requests."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.events: set[asyncio.Event] = set()
        self.done = 0

    async def run(self) -> None:
        """Run steps without drift; a late step is not made up for."""
        loop = asyncio.get_running_loop()
        end = loop.time()
        while True:
            now = loop.time()
            end = max(now, end + self._seconds)
            await asyncio.sleep(end - now)
            self.done += 1
            for event in self.events:
                event.set()
