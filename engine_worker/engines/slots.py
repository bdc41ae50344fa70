"""A fixed number of slots and a bounded first-come queue for them, with counts that are exact."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from drover.errors import QueueFull

# Ollama's words, two spaces included (ollama-api.md section 2.11, case 16).
QUEUE_FULL_MESSAGE = "server busy, please try again.  maximum pending requests exceeded"


class _Waiter:
    __slots__ = ("choose", "prompt_tokens", "slot")

    def __init__(
        self, slot: asyncio.Future[int], choose: Callable[[set[int]], int], prompt_tokens: int
    ) -> None:
        self.slot = slot
        self.choose = choose
        self.prompt_tokens = prompt_tokens


class Slots:
    """`take` and `give_back` belong together, whatever happens in between."""

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
        """Waits for a slot; `choose` picks among those that are free. Raises QueueFull at the bound."""
        if self._free and not self._waiters:
            return self._assign(choose)
        if len(self._waiters) >= self._queue_limit:
            raise QueueFull(QUEUE_FULL_MESSAGE)
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
