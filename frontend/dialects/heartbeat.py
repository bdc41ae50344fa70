"""A sign of life on a stream that has nothing to say yet, for proxies and clients that give up on silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def heartbeats(
    interval_seconds: float, beat: Callable[[], Awaitable[None]]
) -> AsyncGenerator[None, None]:
    """`beat` is called again and again as long as the block runs, never afterwards; 0: never at all."""
    if not interval_seconds:
        yield
        return
    beating = asyncio.create_task(_beat(interval_seconds, beat), name="heartbeats")
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})
    if not beating.cancelled() and (error := beating.exception()) is not None:
        raise error


async def _beat(interval_seconds: float, beat: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_seconds)
        await beat()
