"""Answers that are handed on and answers that are fetched, one as the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing

from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import RequestHandle, Take

# A reader that is this many events behind stops the delivery, and so the worker.
_MOST_READY = 1


async def hand_on(events: AsyncGenerator[pb.GenerateEvent, None], take: Take) -> None:
    """All events, one after the other."""
    async with aclosing(events):
        async for event in events:
            if (busy := take(event)) is not None:
                await busy


async def events_of(handle: RequestHandle) -> AsyncGenerator[pb.GenerateEvent, None]:
    """For readers that fetch. Raises what the delivery raises; closing it ends the delivery."""
    ready = _Ready()
    delivery = asyncio.create_task(handle.deliver(ready.take), name="deliver an answer")
    delivery.add_done_callback(lambda _: ready.news.set())
    try:
        while True:
            while ready.events:
                yield ready.next()
            if delivery.done():
                delivery.result()
                return
            ready.news.clear()
            await ready.news.wait()
    finally:
        delivery.cancel()
        await asyncio.wait({delivery})


def drop(busy: Awaitable[object] | None) -> None:
    """What a `take` has returned, and nothing waits for."""
    close = getattr(busy, "close", None)
    if close is not None:
        close()


class _Ready:
    def __init__(self) -> None:
        self.events: deque[pb.GenerateEvent] = deque()
        self.news = asyncio.Event()
        self._room = asyncio.Event()

    def take(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        """Keeps a copy: an event may be a part of a message with many others."""
        kept = pb.GenerateEvent()
        kept.CopyFrom(event)
        self.events.append(kept)
        self.news.set()
        if len(self.events) < _MOST_READY:
            return None
        self._room.clear()
        return self._room.wait()

    def next(self) -> pb.GenerateEvent:
        event = self.events.popleft()
        if len(self.events) < _MOST_READY:
            self._room.set()
        return event
