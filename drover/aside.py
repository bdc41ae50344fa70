"""Work that takes long on long input, done where it keeps nobody waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def aside(work: Callable[[], Result], length: int, inline: int) -> Result:
    """What `work` returns or raises. Of a `length` beyond `inline` it runs in a thread; below, the way to a
    thread and back would cost more than the work.
    """
    if length <= inline:
        return work()
    return await asyncio.to_thread(work)
