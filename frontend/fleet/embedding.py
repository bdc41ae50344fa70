"""Embeddings: one call, which is abandoned with its worker like any other request."""

from __future__ import annotations

import asyncio

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.fleet.base import Worker
from frontend.fleet.cancelling import is_cancelled


class EmbedCall:
    """Implements frontend.fleet.base.Abandonable."""

    def __init__(self, worker: Worker, request: pb.EmbedRequest, client_request_id: str) -> None:
        self._task = asyncio.ensure_future(worker.embed(request, client_request_id))
        self._abandoned: DroverError | None = None

    def abandon(self, error: DroverError) -> None:
        self._abandoned = error
        self._task.cancel()

    async def answer(self) -> pb.EmbedResponse:
        """Cancelling the caller cancels the call."""
        try:
            return await self._task
        except asyncio.CancelledError:
            if self._abandoned is None or is_cancelled():
                raise
            raise self._abandoned from None
        finally:
            self._task.cancel()
