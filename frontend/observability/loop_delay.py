"""How late the event loop runs what is due: each delay is one that every stream of this frontend sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

_INTERVAL_SECONDS = 0.25


@asynccontextmanager
async def watched_loop(observe: Callable[[float], None]) -> AsyncGenerator[None, None]:
    """Meanwhile call `observe` with the delay in seconds of a timer, four times a second."""
    task = asyncio.create_task(_watch(observe), name="watch the event loop")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _watch(observe: Callable[[float], None]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _INTERVAL_SECONDS
        await asyncio.sleep(_INTERVAL_SECONDS)
        observe(max(0.0, loop.time() - due))
