"""Streams of the events of a background response, from any of them on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps
from frontend.api.in_flight import InFlightRequests
from frontend.api.openai.errors import error_response
from frontend.api.openai.responses.event_log import EventLog, split_frames
from frontend.api.openai.responses.lost import end_lost
from frontend.api.response import GenerationResponse
from frontend.api.response_writer import ResponseWriter
from frontend.api.wire import COMMENT, CONTENT_TYPE, DiagnosticHeaders, frame
from frontend.models.running_responses import RunningResponses
from frontend.models.stored_responses import StoredResponse, StoredResponses

# Poll interval for the events that another frontend writes, every second.
_POLL_SECONDS = 0.5
# OpenAI has no event for a response that was cancelled.
_NAMES = {"cancelled": "incomplete"}
_LAST_EVENTS = tuple(b"event: response.%b\n" % name for name in (b"completed", b"incomplete", b"failed"))


class EventSource(Protocol):
    async def read(self, number: int) -> bytes:
        """The events from this sequence number on. Waits for one; empty at the end."""


class RunEvents:
    """Those of a response that runs here. Implements EventSource."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def read(self, number: int) -> bytes:
        await self._log.wait(number)
        return self._log.since(number)


class RowEvents:
    """Those in the database, of a response that another frontend runs or that has ended. Implements
    EventSource.
    """

    def __init__(
        self, stored: StoredResponses, running: RunningResponses, response_id: str, owner: str
    ) -> None:
        self._stored = stored
        self._running = running
        self._id = response_id
        self._owner = owner

    async def read(self, number: int) -> bytes:
        while True:
            if frames := await self._written(number):
                return frames
            if await self._stored.is_alive(self._id, self._owner):
                await asyncio.sleep(_POLL_SECONDS)
                continue
            row = await self._stored.get(self._id, self._owner)
            if row is None:
                return b""
            if not row.is_running:
                return await self._last(number, row)
            if row.is_lost(time.time_ns()):
                await end_lost(self._running, row)

    async def _written(self, number: int) -> bytes:
        first, data = await self._running.events(self._id, number)
        return b"".join(split_frames(data)[max(number - first, 0) :])

    async def _last(self, number: int, row: StoredResponse) -> bytes:
        """The rest of the events of a response that has ended. Its runner writes the last one; where the
        runner was lost, or another frontend has cancelled the response, it is made from the row.
        """
        if frames := await self._written(number):
            return frames
        first, data = await self._running.events(self._id, number)
        written = split_frames(data)
        following = first + len(written)
        if number > following or (written and written[-1].startswith(_LAST_EVENTS)):
            return b""
        return _last_event(row, following)


def _last_event(row: StoredResponse, number: int) -> bytes:
    name = f"response.{_NAMES.get(row.status, row.status)}"
    members = {"type": name, "response": orjson.loads(row.document), "sequence_number": number}
    return frame(dumps(members), name.encode())


class _Format:
    """Implements frontend.api.response.ResponseFormat. A stream that fails just ends: the client can read on
    where it was.
    """

    stream_content_type = CONTENT_TYPE

    def heartbeat(self) -> bytes:
        return COMMENT

    def error_line(self, error: DroverError) -> bytes:
        return b""

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)


class EventStream(GenerationResponse):
    """`number`: the sequence number of the first event. `ignored`: names of request fields without effect."""

    def __init__(
        self, source: EventSource, number: int, in_flight: InFlightRequests, ignored: Sequence[str] = ()
    ) -> None:
        super().__init__(_Format(), True, in_flight, ignored)
        self._source = source
        self._number = number

    async def exchange(self, scope: Scope, receive: Receive, writer: ResponseWriter) -> None:
        writer.headers = DiagnosticHeaders.of(pb.Started(), self._ignored).headers()
        async with self._in_flight.track(scope, receive):
            while frames := await self._next(writer):
                await writer.stream(frames)
                self._number += len(split_frames(frames))
            await writer.stream(b"")
            await writer.end(b"")

    async def _next(self, writer: ResponseWriter) -> bytes:
        """The next events. Heartbeats until then: the response may wait in the queue for long."""
        async with self._heartbeats(writer):
            return await self._source.read(self._number)
