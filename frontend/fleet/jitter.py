"""A short pause of random length."""

from __future__ import annotations

import asyncio
import random

_MOST_SECONDS = 0.05


async def jitter() -> None:
    """Those that lost one worker together do not come to the next one together."""
    await asyncio.sleep(random.uniform(0, _MOST_SECONDS))
