"""Responses to generating requests. A response owns the request's handle, and cancels it when the client
leaves or the deadline passes, in whatever phase the request is.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from drover.errors import DroverError, InternalError, internal_error
from drover.v1 import engine_pb2 as pb
from frontend.api.in_flight import InFlightRequests
from frontend.api.response_writer import ResponseWriter, StreamFormat, run_until_blocked
from frontend.api.wire import DiagnosticHeaders
from frontend.observability.request_record import RequestRecord, record_of
from frontend.routing.backends.base import RequestHandle, token_event

_log = logging.getLogger("drover.frontend")


class ResponseFormat(StreamFormat, Protocol):
    """How a protocol frames a stream, and how it reports an error."""

    def error_line(self, error: DroverError) -> bytes:
        """The last frame of a stream that failed."""

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        """The response to a request that failed before its first byte."""


class ResponseEncoder(ResponseFormat, Protocol):
    """Turns the engine's events into one protocol's bytes. One per response."""

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """The frames of an event; empty where it shows nothing."""

    def token(self, text: str, token_id: int) -> bytes:
        """The frames of one token, whose text is not empty."""

    def body(self, events: Sequence[pb.GenerateEvent], /) -> bytes:
        """The body of a response that is not streamed."""


class GenerationResponse(Response, ABC):
    """Sends a generated answer, or the error in the protocol's format, to the client.

    `ignored`: names of request fields without effect.
    """

    def __init__(
        self,
        response_format: ResponseFormat,
        stream: bool,
        in_flight: InFlightRequests,
        ignored: Sequence[str],
    ) -> None:
        super().__init__()
        self._format = response_format
        self._stream = stream
        self._in_flight = in_flight
        self._ignored = ignored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        writer = ResponseWriter(send, self._format, record_of(scope).send_body)
        try:
            await self.exchange(scope, receive, writer)
            return
        except DroverError as known:
            error = known
        except Exception as exception:  # noqa: BLE001 - the stream ends with an error frame, not a cut
            _log.exception("unhandled exception while sending a response")
            error = internal_error(exception)
        record_of(scope).record_error(error)
        if writer.began:
            await writer.end(self._format.error_line(error))
        else:
            await self._format.error_response(error, self._stream)(scope, receive, send)

    @abstractmethod
    async def exchange(self, scope: Scope, receive: Receive, writer: ResponseWriter) -> None:
        """Deliver the request and write the answer. Raises DroverError, also in mid-stream."""

    def _heartbeats(self, writer: ResponseWriter) -> Heartbeats:
        """Those of a stream; other responses have none."""
        interval_seconds = self._in_flight.heartbeat_seconds if self._stream else 0
        return Heartbeats(interval_seconds, writer.heartbeat)


class EngineResponse(GenerationResponse):
    """The response to one submitted request, whose handle it owns."""

    def __init__(
        self,
        encoder: ResponseEncoder,
        handle: RequestHandle,
        stream: bool,
        in_flight: InFlightRequests,
        ignored: Sequence[str] = (),
        before_end: BeforeEnd | None = None,
    ) -> None:
        super().__init__(encoder, stream, in_flight, ignored)
        self._encoder = encoder
        self._handle = handle
        self._before_end = before_end

    async def exchange(self, scope: Scope, receive: Receive, writer: ResponseWriter) -> None:
        heartbeats = self._heartbeats(writer)
        sink = (
            StreamSink(self._encoder, writer, heartbeats.stop, self._before_end)
            if self._stream
            else CollectSink(self._encoder, writer, self._before_end)
        )
        try:
            async with self._in_flight.track(scope, receive), heartbeats:
                recorded = RecordedEvents(sink, record_of(scope), writer, self._ignored)
                await self._handle.deliver(recorded)
                sink.check_ended()
        except DroverError:
            # Errors after the client has the whole response are ignored.
            if not sink.is_sent:
                raise
        finally:
            self._handle.cancel()


BeforeEnd = Callable[[], Awaitable[None]]


class ResponseSink(Protocol):
    """Consumes the events of an answer. `is_sent`: the client has the whole response."""

    is_sent: bool

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None:
        """Consume an event; the result is to be awaited before the next one."""

    def token(self, text: str, token_id: int) -> Awaitable[object] | None:
        """Consume one token, as for an event."""

    def check_ended(self) -> None:
        """Raises InternalError where there was no last event."""


class RecordedEvents:
    """Notes an answer's events in the request's record and passes them to the sink. Implements
    frontend.routing.backends.base.TokenSink.
    """

    __slots__ = ("_has_begun", "_ignored", "_record", "_sink", "_writer")

    def __init__(
        self, sink: ResponseSink, record: RequestRecord, writer: ResponseWriter, ignored: Sequence[str]
    ) -> None:
        self._sink = sink
        self._record = record
        self._writer = writer
        self._ignored = ignored
        self._has_begun = False

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        if not self._has_begun:
            self._begin(event.started)
        is_last = event.HasField("done")
        if is_last:
            self._record.record_done(event.done)
        return self._sink.take(event, is_last)

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        if not self._has_begun:
            return self(token_event(text, token_id, completion_tokens))
        return self._sink.token(text, token_id)

    def _begin(self, started: pb.Started) -> None:
        self._has_begun = True
        diagnostics = DiagnosticHeaders.of(started, self._ignored)
        self._record.record_first_event(diagnostics.not_honoured, diagnostics.truncated_tokens)
        self._writer.headers = (
            diagnostics.headers() + self._record.queue_headers() + self._record.route_headers()
        )


class StreamSink:
    """Writes each event as it comes (the hot path). Implements ResponseSink.

    `stop_heartbeats`: awaited before the first frame; `before_end`: before the last ones, which are encoded.
    """

    def __init__(
        self,
        encoder: ResponseEncoder,
        writer: ResponseWriter,
        stop_heartbeats: Callable[[], Awaitable[None]],
        before_end: BeforeEnd | None = None,
    ) -> None:
        self._lines = encoder.lines
        self._token_lines = encoder.token
        self._writer = writer
        self._stop_heartbeats = stop_heartbeats
        self._before_end = before_end
        self._has_begun = False
        self.is_sent = False

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None:
        lines = self._lines(event)
        if is_last:
            return run_until_blocked(self._end(lines))
        if not lines:
            return None
        if self._has_begun:
            return self._writer.write_now(lines)
        self._has_begun = True
        return self._begin(lines)

    def token(self, text: str, token_id: int) -> Awaitable[object] | None:
        lines = self._token_lines(text, token_id)
        if self._has_begun:
            return self._writer.write_now(lines)
        self._has_begun = True
        return self._begin(lines)

    def check_ended(self) -> None:
        if not self.is_sent:
            raise missing_done()

    async def _begin(self, lines: bytes) -> None:
        await self._stop_heartbeats()
        await self._writer.stream(lines)

    async def _end(self, lines: bytes) -> None:
        if self._before_end is not None:
            await self._before_end()
        if not self._has_begun:
            await self._begin(lines)
            lines = b""
        await self._writer.end(lines)
        self.is_sent = True


class CollectSink:
    """Collects the events and sends one body in the end. Implements ResponseSink. `before_end`: awaited
    before that, when the body is encoded.
    """

    def __init__(
        self, encoder: ResponseEncoder, writer: ResponseWriter, before_end: BeforeEnd | None = None
    ) -> None:
        self._encoder = encoder
        self._writer = writer
        self._before_end = before_end
        self._events: list[pb.GenerateEvent] = []
        self.is_sent = False

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None:
        """Keeps a copy: the event may be a part of a message with many others."""
        kept = pb.GenerateEvent()
        kept.CopyFrom(event)
        self._events.append(kept)
        return self._send() if is_last else None

    def token(self, text: str, token_id: int) -> None:
        self._events.append(token_event(text, token_id, 0))

    def check_ended(self) -> None:
        if not self.is_sent:
            raise missing_done()

    async def _send(self) -> None:
        body = self._encoder.body(self._events)
        if self._before_end is not None:
            await self._before_end()
        await self._writer.whole(body)
        self.is_sent = True


def missing_done() -> InternalError:
    return InternalError("the worker ended the answer without its last event")


class Heartbeats:
    """Calls `beat` every `interval_seconds` while the block runs, until `stop`; 0 disables it."""

    def __init__(self, interval_seconds: float, beat: Callable[[], Awaitable[None]]) -> None:
        self._interval_seconds = interval_seconds
        self._beat = beat
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._interval_seconds:
            self._task = asyncio.create_task(self._run(), name="heartbeats")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        task = await self._end()
        if error is None:
            _raise_failure(task)

    async def stop(self) -> None:
        """End the heartbeats; none is sent afterwards. Raises what a heartbeat raised."""
        _raise_failure(await self._end())

    async def _end(self) -> asyncio.Task[None] | None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        return task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            await self._beat()


def _raise_failure(task: asyncio.Task[None] | None) -> None:
    if task is not None and not task.cancelled() and (error := task.exception()) is not None:
        raise error
