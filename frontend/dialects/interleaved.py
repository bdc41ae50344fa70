"""Several requests' events as one stream, in the order in which they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from drover.errors import DroverError, InternalError
from drover.v1 import engine_pb2 as pb
from frontend.fleet.base import RequestHandle
from frontend.fleet.delivery import events_of


async def interleaved(handles: Sequence[RequestHandle]) -> AsyncGenerator[tuple[int, pb.GenerateEvent], None]:
    """Each event with the place of its request. Nothing is read ahead of who takes them but one event each.
    Raises the first failure of a request that is not over.
    """
    streams = [events_of(handle) for handle in handles]
    over: set[int] = set()
    reading = {asyncio.create_task(_next(stream)): place for place, stream in enumerate(streams)}
    try:
        while reading:
            ready, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(ready, key=lambda each: reading[each]):
                place = reading.pop(task)
                event = _event_of(task, is_over=place in over)
                if event is None:
                    continue
                if event.HasField("done"):
                    over.add(place)
                reading[asyncio.create_task(_next(streams[place]))] = place
                yield place, event
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


def _event_of(task: asyncio.Task[pb.GenerateEvent | None], is_over: bool) -> pb.GenerateEvent | None:
    """None at the end. How a call ends that has said its last word is nobody's matter."""
    try:
        event = task.result()
    except DroverError:
        if is_over:
            return None
        raise
    if event is None and not is_over:
        raise InternalError("the worker ended the answer without its last event")
    return event


async def _next(stream: AsyncGenerator[pb.GenerateEvent, None]) -> pb.GenerateEvent | None:
    return await anext(stream, None)
