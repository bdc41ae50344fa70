"""Embeddings: one call, which is abandoned with its worker like any other request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.fleet.base import Worker


class EmbedCall:
    """Implements frontend.fleet.base.RequestHandle, but for its events: there is one answer."""

    def __init__(self, worker: Worker, request: pb.EmbedRequest, client_request_id: str) -> None:
        self._task = asyncio.ensure_future(worker.embed(request, client_request_id))
        self._abandoned: DroverError | None = None

    def __aiter__(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        raise NotImplementedError("an embedding has no events")

    def abandon(self, error: DroverError) -> None:
        self._abandoned = error
        self._task.cancel()

    def cancel(self) -> None:
        self._task.cancel()

    async def answer(self) -> pb.EmbedResponse:
        """Cancelling the caller cancels the call."""
        try:
            return await self._task
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._abandoned is not None and not (task and task.cancelling()):
                raise self._abandoned from None
            raise
        finally:
            self._task.cancel()
