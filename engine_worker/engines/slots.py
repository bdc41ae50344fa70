"""A fixed number of slots with a bounded FIFO queue, and the limit of requests in a worker."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from drover.errors import QueueFull


class _Waiter:
    __slots__ = ("choose", "prompt_tokens", "slot")

    def __init__(
        self, slot: asyncio.Future[int], choose: Callable[[set[int]], int], prompt_tokens: int
    ) -> None:
        self.slot = slot
        self.choose = choose
        self.prompt_tokens = prompt_tokens


class Slots:
    """Each `take` needs one `give_back`."""

    def __init__(self, count: int, queue_limit: int) -> None:
        self._count = count
        self._queue_limit = queue_limit
        self._free = set(range(count))
        self._waiters: deque[_Waiter] = deque()

    @property
    def running(self) -> int:
        return self._count - len(self._free)

    @property
    def limit(self) -> int:
        return self._count

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    @property
    def waiting_prompt_tokens(self) -> int:
        return sum(waiter.prompt_tokens for waiter in self._waiters)

    async def take(self, choose: Callable[[set[int]], int], prompt_tokens: int) -> int:
        """Wait for a slot; `choose` picks one of the free ones. Raises QueueFull if the queue is full."""
        if self._free and not self._waiters:
            return self._assign(choose)
        if len(self._waiters) >= self._queue_limit:
            raise QueueFull()
        waiter = _Waiter(asyncio.get_running_loop().create_future(), choose, prompt_tokens)
        self._waiters.append(waiter)
        try:
            return await waiter.slot
        except asyncio.CancelledError:
            if waiter.slot.done() and not waiter.slot.cancelled():
                self.give_back(waiter.slot.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def give_back(self, slot: int) -> None:
        self._free.add(slot)
        while self._waiters and self._free:
            waiter = self._waiters.popleft()
            if not waiter.slot.done():
                waiter.slot.set_result(self._assign(waiter.choose))

    def _assign(self, choose: Callable[[set[int]], int]) -> int:
        slot = choose(self._free)
        self._free.remove(slot)
        return slot


class QueuedRequest:
    """A request that counts as waiting until `starts` is called; `queue_ns` is how long that took."""

    __slots__ = ("_admission", "_arrived_ns", "_waits", "queue_ns")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._waits = True
        self._arrived_ns = time.perf_counter_ns()
        self.queue_ns = 0
        admission.waiting += 1

    def starts(self) -> None:
        if self._waits:
            self._waits = False
            self.queue_ns = time.perf_counter_ns() - self._arrived_ns
            self._admission.waiting -= 1


class Admission:
    """The requests in a worker, from arrival to end: at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight = 0
        self.waiting = 0

    @contextmanager
    def admit(self) -> Iterator[QueuedRequest]:
        """Count a request. Raises QueueFull at the limit."""
        if self._in_flight >= self._limit:
            raise QueueFull()
        self._in_flight += 1
        queued = QueuedRequest(self)
        try:
            yield queued
        finally:
            queued.starts()
            self._in_flight -= 1
