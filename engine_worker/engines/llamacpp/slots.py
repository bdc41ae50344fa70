"""llama.cpp's slots: which one a prompt takes, and when it is free again.

A prompt takes the free slot whose KV cache shares the longest prefix with it. A slot is free only once
llama.cpp has stopped working in it, which after a cancel is later than the end of the request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from drover.errors import DroverError
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.reranking import Pair
from engine_worker.engines.slots import Slots

_FREE_DEADLINE_SECONDS = 30.0
_SETTLE_SECONDS = 0.02

Result = TypeVar("Result")


class HeldSlot:
    """A slot and what the request in it reports. `tokens`: number of tokens in its cache; `ids`: those whose
    ids are known; `was_used`: a chunk has arrived from it; `is_idle`: llama.cpp has stopped working in it;
    `may_share_cache`: what is in its cache has the request's salt.
    """

    __slots__ = ("ids", "is_idle", "may_share_cache", "number", "tokens", "was_used")

    def __init__(self, number: int, may_share_cache: bool = True) -> None:
        self.number = number
        self.may_share_cache = may_share_cache
        self.ids: list[int] = []
        self.tokens = 0
        self.was_used = False
        self.is_idle = False


class HeldSlots:
    """A slot counts as running while llama.cpp works in it, also after its request was cancelled.

    `on_failure` is called with a reason if llama.cpp does not free a slot.
    """

    def __init__(self, slots: Slots, api: LlamaApi, on_failure: Callable[[str], None]) -> None:
        self._slots = slots
        self._api = api
        self._on_failure = on_failure
        self._prefixes = SlotPrefixes(slots.limit)
        self._held: set[HeldSlot] = set()
        self._releases: set[asyncio.Task[None]] = set()
        self._steps: set[asyncio.Task[Any]] = set()
        self._closed = False

    @property
    def running(self) -> int:
        return self._slots.running

    @property
    def waiting_prompt_tokens(self) -> int:
        return self._slots.waiting_prompt_tokens

    @property
    def kv_tokens(self) -> int:
        return sum(slot.tokens for slot in self._held)

    @asynccontextmanager
    async def hold(self, ids: list[int], salt: str = "") -> AsyncGenerator[HeldSlot, None]:
        """Wait for a slot; of several free ones, take the one whose cache has the longest prefix of `ids` and
        the same salt.
        """
        number = await self._slots.take(lambda free: self._prefixes.choose(free, ids, salt), len(ids))
        slot = HeldSlot(number, may_share_cache=self._prefixes.use(number, salt))
        self._held.add(slot)
        try:
            yield slot
        finally:
            if slot.was_used:
                self._prefixes.began(number, salt)
            if slot.ids:
                self._prefixes.remember(number, slot.ids)
            if slot.is_idle or self._closed:
                self._free(slot)
            else:
                task = asyncio.create_task(self._free_when_idle(slot), name=f"free slot {number}")
                self._releases.add(task)
                task.add_done_callback(self._releases.discard)

    async def embed(self, ids: list[int], begins: Callable[[], None]) -> list[float]:
        return await self._step(len(ids), lambda: self._api.embed(ids), begins)

    async def rank(self, pair: Pair, begins: Callable[[], None]) -> float:
        return await self._step(pair.tokens, lambda: self._api.rank(pair.query, pair.document), begins)

    async def _step(
        self, tokens: int, work: Callable[[], Coroutine[object, object, Result]], begins: Callable[[], None]
    ) -> Result:
        """Run a text that is only prefilled, in a slot that llama.cpp chooses. It is one engine step, which
        cannot be interrupted: a cancelled caller returns at once, and the slot stays taken until the step
        ends.
        """
        number = await self._slots.take(min, tokens)
        begins()
        step = asyncio.create_task(work(), name=f"prefill in slot {number}")

        def ended(step: asyncio.Task[Result]) -> None:
            self._steps.discard(step)
            self._slots.give_back(number)
            if not step.cancelled():
                # Retrieve the exception even if the caller was cancelled, or asyncio logs it as lost.
                step.exception()

        self._steps.add(step)
        step.add_done_callback(ended)
        return await asyncio.shield(step)

    def close(self) -> None:
        self._closed = True
        for task in (*self._releases, *self._steps):
            task.cancel()

    def _free(self, slot: HeldSlot) -> None:
        self._held.discard(slot)
        self._slots.give_back(slot.number)

    async def _free_when_idle(self, slot: HeldSlot) -> None:
        """After a cancel: llama.cpp notices the closed connection at the end of its step."""
        try:
            async with asyncio.timeout(_FREE_DEADLINE_SECONDS):
                if not slot.was_used:
                    # llama.cpp may still be reading the request and begin with it only now.
                    await asyncio.sleep(_SETTLE_SECONDS)
                while await self._is_processing(slot.number):
                    continue
        except TimeoutError:
            self._on_failure(
                f"llama.cpp kept slot {slot.number} for {_FREE_DEADLINE_SECONDS:.0f} s after a cancel"
            )
        except DroverError as error:
            self._on_failure(error.message)
        else:
            self._free(slot)

    async def _is_processing(self, number: int) -> bool:
        """Waits for the end of the current step, since only then llama.cpp answers."""
        return any(state["id"] == number and state["is_processing"] for state in await self._api.slots())


class SlotPrefixes:
    """Remembers, per slot, the tokens of its last request and its salt; None: unknown. Bounded by slots x
    context.
    """

    def __init__(self, slots: int) -> None:
        self._ids: list[Sequence[int]] = [()] * slots
        self._salts: list[str | None] = [""] * slots
        self._used_at = [0] * slots
        self._clock = 0

    def choose(self, free: set[int], ids: Sequence[int], salt: str = "") -> int:
        """Among equals, the one that has been idle for longest, so that warm caches survive."""

        def shared(slot: int) -> int:
            return common_prefix(self._ids[slot], ids) if self._salts[slot] == salt else 0

        return max(free, key=lambda slot: (shared(slot), -self._used_at[slot]))

    def use(self, slot: int, salt: str) -> bool:
        """Whether what is in the slot's cache has this salt. If not, it counts as unknown from now on: a
        request that is cancelled early may leave the cache as it is.
        """
        is_same = self._salts[slot] == salt
        if not is_same:
            self._salts[slot], self._ids[slot] = None, ()
        return is_same

    def began(self, slot: int, salt: str) -> None:
        """Note that llama.cpp has begun a request of this salt, so that the cache has nothing of others."""
        self._salts[slot] = salt

    def remember(self, slot: int, ids: Sequence[int]) -> None:
        self._clock += 1
        self._used_at[slot] = self._clock
        self._ids[slot] = ids


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many leading items are equal. Compares slices, which is fast, in log2(length) steps."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low + 1 < high:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low if low == high or one[low] != other[low] else low + 1
