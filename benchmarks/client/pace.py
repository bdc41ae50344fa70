"""The rate at which requests are sent."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """`rate`: questions a second of all streams together, evenly apart; None: each as soon as it can.

    Time in which no stream was free is not made good.
    """

    def __init__(self, rate: float | None) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._next_at = 0.0

    async def turn(self, until: float) -> bool:
        """Wait for the next request's time. False if that is not before `until`."""
        now = time.monotonic()
        at = max(now, self._next_at)
        if at >= until:
            return False
        self._next_at = at + self._interval
        await asyncio.sleep(at - now)
        return True
