"""llama.cpp's slots while requests have them, until llama.cpp itself has let go of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from drover.errors import DroverError
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.prefixes import SlotPrefixes
from engine_worker.engines.slots import Slots

_FREE_DEADLINE_SECONDS = 30.0
_SETTLE_SECONDS = 0.02


class HeldSlot:
    """What its request says of it. `tokens`: how many its cache holds; `ids`: those that are known;
    `is_idle`: llama.cpp is done with it.
    """

    __slots__ = ("ids", "is_idle", "number", "tokens", "was_used")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ids: list[int] = []
        self.tokens = 0
        self.was_used = False
        self.is_idle = False


class HeldSlots:
    """A slot counts as running as long as llama.cpp works for it, also after its request was cancelled.

    `failed` hears the reason when llama.cpp does not let go of a slot.
    """

    def __init__(self, slots: Slots, api: LlamaApi, failed: Callable[[str], None]) -> None:
        self._slots = slots
        self._api = api
        self._failed = failed
        self._prefixes = SlotPrefixes(slots.limit)
        self._held: set[HeldSlot] = set()
        self._releases: set[asyncio.Task[None]] = set()
        self._embeddings: set[asyncio.Task[list[float]]] = set()
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
    async def hold(self, ids: list[int]) -> AsyncGenerator[HeldSlot, None]:
        """Waits for a slot; of several that are free, the one whose cache begins most like `ids`."""
        number = await self._slots.take(lambda free: self._prefixes.choose(free, ids), len(ids))
        slot = HeldSlot(number)
        self._held.add(slot)
        try:
            yield slot
        finally:
            if slot.ids:
                self._prefixes.remember(number, slot.ids)
            if slot.is_idle or self._closed:
                self._free(slot)
            else:
                task = asyncio.create_task(self._free_when_idle(slot), name=f"free slot {number}")
                self._releases.add(task)
                task.add_done_callback(self._releases.discard)

    async def embed(self, ids: list[int], begins: Callable[[], None]) -> list[float]:
        """In whichever of its slots llama.cpp likes. A text is one step, which cannot be broken off: who is
        cancelled leaves at once, and the step has its slot until it is over, however long that takes.
        """
        number = await self._slots.take(min, len(ids))
        begins()
        step = asyncio.create_task(self._api.embed(ids), name=f"embed in slot {number}")

        def ended(step: asyncio.Task[list[float]]) -> None:
            self._embeddings.discard(step)
            self._slots.give_back(number)
            if not step.cancelled():
                # Read here, since nobody may be left to whom an error could be told.
                step.exception()

        self._embeddings.add(step)
        step.add_done_callback(ended)
        return await asyncio.shield(step)

    def close(self) -> None:
        self._closed = True
        for task in (*self._releases, *self._embeddings):
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
            self._failed(
                f"llama.cpp kept slot {slot.number} for {_FREE_DEADLINE_SECONDS:.0f} s after a cancel"
            )
        except DroverError as error:
            self._failed(error.message)
        else:
            self._free(slot)

    async def _is_processing(self, number: int) -> bool:
        """Waits for the end of the current step, since only then llama.cpp answers."""
        return any(state["id"] == number and state["is_processing"] for state in await self._api.slots())
