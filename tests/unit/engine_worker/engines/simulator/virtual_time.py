"""An event loop whose clock advances only while every task waits: exact times on any machine."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    def __init__(self, late_by_seconds: float) -> None:
        super().__init__()
        self.now = 1000.0
        self._late_by = late_by_seconds

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits and no timer is left")
        if timeout > 0:
            self.now += timeout + self._late_by
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Each wait ends `late_by_seconds` after its time."""

    def __init__(self, late_by_seconds: float = 0.0) -> None:
        self._clock = _Selector(late_by_seconds)
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def hang(self, seconds: float) -> None:
        """Advance the clock as if the loop's thread had been busy for so long."""
        self._clock.now += seconds


def run(work: Coroutine[object, object, T], late_by_seconds: float = 0.0) -> T:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(late_by_seconds)) as runner:
        return runner.run(work)
