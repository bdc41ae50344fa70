"""The model in memory: llama.cpp, the way to it and its slots, which begin and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.options import LlamacppOptions
from engine_worker.engines.llamacpp.server import LlamaServer
from engine_worker.engines.llamacpp.slots import HeldSlots
from engine_worker.engines.slots import Slots

_EXPLAIN_SECONDS = 1.0


class InMemory:
    """`failed` hears the reason when llama.cpp breaks down."""

    def __init__(self, server: LlamaServer, options: LlamacppOptions, failed: Callable[[str], None]) -> None:
        self._server = server
        self._failed = failed
        self._watch = asyncio.create_task(self._until_it_ends(), name="watch llama.cpp")
        self._explaining: set[asyncio.Task[None]] = set()
        self.api = LlamaApi(server)
        # An embedding request may wait for as many slots as it has texts, up to all of them.
        queue_limit = (options.slots + options.queue_limit) * options.slots
        self.slots = HeldSlots(Slots(options.slots, queue_limit), self.api, self._slot_failed)

    async def end(self, deadline_seconds: float) -> None:
        """Frees the memory."""
        for task in (self._watch, *self._explaining):
            task.cancel()
        self.slots.close()
        await self.api.close()
        try:
            async with asyncio.timeout(deadline_seconds):
                await self._server.end()
        except TimeoutError:
            self._failed(f"llama.cpp did not end within {deadline_seconds:.0f} s")

    async def _until_it_ends(self) -> None:
        self._failed(f"llama.cpp ended by itself ({await self._server.wait_ended()})")

    def _slot_failed(self, reason: str) -> None:
        self._explaining.add(asyncio.create_task(self._explain(reason), name="look for a better reason"))

    async def _explain(self, reason: str) -> None:
        """A process that died is noticed first by those who call it."""
        await asyncio.wait({self._watch}, timeout=_EXPLAIN_SECONDS)
        self._failed(reason)
