"""Fixed addresses from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence


class Static:
    """Implements Discovery."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        yield self._addresses
        await asyncio.Event().wait()
