"""Conversion between pushed events (`RequestHandle.deliver`) and pulled events (async iteration)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing

from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import EventSink, RequestHandle

# A reader that is this many events behind pauses the delivery, and so the worker: backpressure.
_MAX_READY = 1


async def deliver_to(events: AsyncGenerator[pb.GenerateEvent, None], sink: EventSink) -> None:
    """Push all events into `sink`, waiting while it is busy."""
    async with aclosing(events):
        async for event in events:
            if (busy := sink(event)) is not None:
                await busy


async def events_of(handle: RequestHandle) -> AsyncGenerator[pb.GenerateEvent, None]:
    """Pull a request's events. Raises what the delivery raises; closing the generator cancels it."""
    ready = _Ready()
    delivery = asyncio.create_task(handle.deliver(ready.put), name="deliver a response")
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


def discard(busy: Awaitable[object] | None) -> None:
    """Close what an event sink returned, if it is not going to be awaited."""
    close = getattr(busy, "close", None)
    if close is not None:
        close()


class _Ready:
    """Events that were delivered and not read yet."""

    def __init__(self) -> None:
        self.events: deque[pb.GenerateEvent] = deque()
        self.news = asyncio.Event()
        self._room = asyncio.Event()

    def put(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        """Keep a copy: the event may be part of a message with many others, which would stay in memory."""
        kept = pb.GenerateEvent()
        kept.CopyFrom(event)
        self.events.append(kept)
        self.news.set()
        if len(self.events) < _MAX_READY:
            return None
        self._room.clear()
        return self._room.wait()

    def next(self) -> pb.GenerateEvent:
        event = self.events.popleft()
        if len(self.events) < _MAX_READY:
            self._room.set()
        return event
