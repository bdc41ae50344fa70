"""The model in memory: llama.cpp, the way to it and its slots, which begin and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from engine_worker.daemon import in_daemon_thread
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.held_slots import HeldSlots
from engine_worker.engines.llamacpp.options import LlamacppOptions
from engine_worker.engines.llamacpp.server import LlamaServer
from engine_worker.engines.slots import Slots


class InMemory:
    """`failed` hears the reason when llama.cpp breaks down."""

    def __init__(self, server: LlamaServer, options: LlamacppOptions, failed: Callable[[str], None]) -> None:
        self._server = server
        self._failed = failed
        self.api = LlamaApi(server)
        # An embedding request may wait for as many slots as it has texts, up to all of them.
        queue_limit = (options.slots + options.queue_limit) * options.slots
        self.slots = HeldSlots(Slots(options.slots, queue_limit), self.api, failed)

    async def end(self, deadline_seconds: float) -> None:
        """Frees the memory. Joining llama.cpp's threads takes as long as its current step."""
        self.slots.close()
        await self.api.close()
        try:
            async with asyncio.timeout(deadline_seconds):
                await in_daemon_thread(lambda: setattr(self._server, "handle", None), "stop llama.cpp")
        except TimeoutError:
            self._failed(f"llama.cpp did not end within {deadline_seconds:.0f} s")
