"""Things that happen to a fleet, at random: never to so many that none is left."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine

from tests.chaos.fleet import Fleet

_MOST_WORKERS_AT_ONCE = 2
_BETWEEN_SECONDS = (0.5, 4.0)
_AWAY_SECONDS = (0.2, 3.0)
_STOPPED_SECONDS = (0.5, 14.0)
_SETTLE_SECONDS = 2.0
_EXIT_SECONDS = 60.0


class Havoc:
    """Worker 0 is stopped but never ended, and frontend 0 is left alone: leaks of the whole time show there.
    `happened` counts events by name.
    """

    def __init__(self, fleet: Fleet, dice: random.Random) -> None:
        self._fleet = fleet
        self._dice = dice
        self._busy_workers: set[int] = set()
        self._busy_frontends: set[int] = set()
        self._kills: list[tuple[int, float]] = []
        self.happened: Counter[str] = Counter()

    def was_killed(self, frontend: int, since: float) -> bool:
        return any(number == frontend and at >= since - _SETTLE_SECONDS for number, at in self._kills)

    async def run(self, seconds: float) -> None:
        """Until then, and until all that it did is mended."""
        deadline = time.monotonic() + seconds
        async with asyncio.TaskGroup() as doing:
            while time.monotonic() < deadline:
                await asyncio.sleep(self._dice.uniform(*_BETWEEN_SECONDS))
                if (event := self._next()) is not None:
                    doing.create_task(event)

    def _next(self) -> Coroutine[object, object, None] | None:
        if self._dice.random() < 0.25:
            return self._frontend_event()
        if len(self._busy_workers) >= _MOST_WORKERS_AT_ONCE:
            return None
        free = [number for number in range(len(self._fleet.workers)) if number not in self._busy_workers]
        worker = self._dice.choice(free)
        end = self._dice.choice([self._kill_worker, self._kill_worker, self._stop_worker, self._drain_worker])
        return self._busy(self._busy_workers, worker, self._stop_worker if worker == 0 else end)

    def _frontend_event(self) -> Coroutine[object, object, None] | None:
        if self._busy_frontends:
            return None
        frontend = self._dice.randrange(1, len(self._fleet.frontends))
        end = self._dice.choice([self._kill_frontend, self._drain_frontend])
        return self._busy(self._busy_frontends, frontend, end)

    async def _busy(
        self, busy: set[int], number: int, event: Callable[[int], Coroutine[object, object, None]]
    ) -> None:
        busy.add(number)
        self.happened[event.__name__.strip("_").replace("_", " ")] += 1
        await event(number)
        await asyncio.sleep(_SETTLE_SECONDS)
        busy.remove(number)

    async def _kill_worker(self, number: int) -> None:
        self._fleet.workers[number].signal(signal.SIGKILL)
        await asyncio.sleep(self._dice.uniform(*_AWAY_SECONDS))
        await asyncio.to_thread(self._fleet.restart_worker, number)

    async def _stop_worker(self, number: int) -> None:
        self._fleet.workers[number].signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(self._dice.uniform(*_STOPPED_SECONDS))
        finally:
            self._fleet.workers[number].signal(signal.SIGCONT)

    async def _drain_worker(self, number: int) -> None:
        self._fleet.workers[number].signal(signal.SIGTERM)
        assert await asyncio.to_thread(self._fleet.workers[number].wait, _EXIT_SECONDS) == 0
        await asyncio.to_thread(self._fleet.restart_worker, number)

    async def _kill_frontend(self, number: int) -> None:
        self._kills.append((number, time.monotonic()))
        self._fleet.frontends[number].signal(signal.SIGKILL)
        await asyncio.sleep(self._dice.uniform(*_AWAY_SECONDS))
        await asyncio.to_thread(self._fleet.restart_frontend, number)

    async def _drain_frontend(self, number: int) -> None:
        self._fleet.frontends[number].signal(signal.SIGTERM)
        assert await asyncio.to_thread(self._fleet.frontends[number].wait, _EXIT_SECONDS) == 0
        await asyncio.to_thread(self._fleet.restart_frontend, number)
