"""One call that is no stream: embeddings, token ids, a rendered prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

from drover.errors import DroverError
from frontend.routing.backends.cancelling import is_cancelled

Found = TypeVar("Found")


class Call(Generic[Found]):
    """Implements Abandonable. `is_only_suspect`: the worker has stopped meanwhile, and
    only this call can be the cause.
    """

    def __init__(self, answer: Awaitable[Found]) -> None:
        self.is_only_suspect = False
        self._task = asyncio.ensure_future(answer)
        self._abandoned: DroverError | None = None

    def abandon(self, error: DroverError) -> None:
        self._abandoned = self._abandoned or error
        self._task.cancel()

    async def answer(self) -> Found:
        """Cancelling the caller cancels the call."""
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._abandoned is None or is_cancelled():
                raise
            raise self._abandoned from None
        finally:
            self._task.cancel()
