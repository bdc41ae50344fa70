"""A call with one response: embeddings, token ids, a rendered prompt, load and unload."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Generic, TypeVar

from drover.concurrency import is_cancelled
from drover.errors import DroverError

Response = TypeVar("Response")


class UnaryCall(Generic[Response]):
    """Implements Abandonable. `is_only_suspect`: the worker stalled under this call, and nothing else that it
    had can be the cause.
    """

    def __init__(self, response: Awaitable[Response]) -> None:
        self.is_only_suspect = False
        self._task = asyncio.ensure_future(response)
        self._abandoned: DroverError | None = None

    def abandon(self, error: DroverError) -> None:
        self._abandoned = self._abandoned or error
        self._task.cancel()

    async def result(self) -> Response:
        """Wait for the response. Cancelling the caller cancels the call."""
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._abandoned is None or is_cancelled():
                raise
            raise self._abandoned from None
        finally:
            self._task.cancel()
