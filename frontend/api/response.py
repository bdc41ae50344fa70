"""An answer of an engine on its way to the client: it owns the request's handle, and cancels it when the
client leaves or the deadline passes, in whatever phase the request is.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from drover.errors import DroverError, InternalError, internal_error
from drover.v1 import engine_pb2 as pb
from frontend.api.in_flight import InFlightRequests
from frontend.api.response_writer import ResponseWriter, StreamFormat, at_once
from frontend.api.wire import Notices
from frontend.observability.request_record import RequestRecord, record_of
from frontend.routing.backends.base import RequestHandle, token_event

_log = logging.getLogger("drover.frontend")


class ResponseFormat(StreamFormat, Protocol):
    """How a protocol frames what is sent, and words an error."""

    def error_line(self, error: DroverError) -> bytes:
        """The end of a stream that broke."""

    def error_response(self, error: DroverError, streamed: bool) -> Response: ...


class Dialect(ResponseFormat, Protocol):
    """What differs between protocols."""

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """What a stream says of an event; empty when nothing."""

    def token(self, text: str, token_id: int) -> bytes:
        """The same of one token, whose text is not empty."""

    def body(self, events: list[pb.GenerateEvent]) -> bytes:
        """The whole answer of a request that is not streamed."""


class GenerationResponse(Response, ABC):
    """However an exchange with engines ends, the client hears of it in its protocol's words. `ignored`: names
    of what the request set and nobody honours.
    """

    def __init__(
        self, wording: ResponseFormat, stream: bool, in_flight: InFlightRequests, ignored: Sequence[str]
    ) -> None:
        super().__init__()
        self._wording = wording
        self._stream = stream
        self._in_flight = in_flight
        self._ignored = ignored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = ResponseWriter(send, self._wording, record_of(scope).send_body)
        try:
            await self.exchange(scope, receive, sending)
            return
        except DroverError as leaf:
            error = leaf
        except Exception as exception:  # noqa: BLE001 - the last resort: a stream ends with a word, not a cut
            _log.exception("an answer failed in a way that nobody foresaw")
            error = internal_error(exception)
        record_of(scope).record_error(error)
        if sending.began:
            await sending.end(self._wording.error_line(error))
        else:
            await self._wording.error_response(error, self._stream)(scope, receive, send)

    @abstractmethod
    async def exchange(self, scope: Scope, receive: Receive, sending: ResponseWriter) -> None:
        """Raises DroverError for what failed, whatever was sent before."""


class EngineResponse(GenerationResponse):
    """The response to a submitted request, whose handle it owns."""

    def __init__(
        self,
        dialect: Dialect,
        handle: RequestHandle,
        stream: bool,
        in_flight: InFlightRequests,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(dialect, stream, in_flight, ignored)
        self._dialect = dialect
        self._handle = handle

    async def exchange(self, scope: Scope, receive: Receive, sending: ResponseWriter) -> None:
        record = record_of(scope)
        async with AsyncExitStack() as owned:
            silence = AsyncExitStack()
            taker = (
                Streamed(self._dialect, sending, silence.aclose)
                if self._stream
                else Collected(self._dialect, sending)
            )
            owned.callback(self._handle.cancel)
            try:
                async with self._in_flight.track(scope, receive), silence:
                    if self._stream:
                        beating = heartbeats(self._in_flight.heartbeat_seconds, sending.heartbeat)
                        await silence.enter_async_context(beating)
                    await self._handle.deliver(RecordedEvents(taker, record, sending, self._ignored))
                    taker.check_ended()
            except DroverError:
                # Of a call that has not ended after its last event, or a client that has all.
                if not taker.is_sent:
                    raise


class ResponseSink(Protocol):
    """What becomes of an answer's events. `is_sent`: the client has all."""

    is_sent: bool

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None: ...

    def token(self, text: str, token_id: int) -> Awaitable[object] | None: ...

    def check_ended(self) -> None:
        """Raises InternalError where there was no last event."""


class RecordedEvents:
    """An answer's events on their way to the taker, with their times in the request's record. Implements
    frontend.routing.backends.base.TokenSink.
    """

    __slots__ = ("_has_begun", "_ignored", "_record", "_sending", "_taker")

    def __init__(
        self, taker: ResponseSink, record: RequestRecord, sending: ResponseWriter, ignored: Sequence[str]
    ) -> None:
        self._taker = taker
        self._record = record
        self._sending = sending
        self._ignored = ignored
        self._has_begun = False

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        if not self._has_begun:
            self._begins(event.started)
        is_last = event.HasField("done")
        if is_last:
            self._record.record_done(event.done)
        return self._taker.take(event, is_last)

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        if not self._has_begun:
            return self(token_event(text, token_id, completion_tokens))
        return self._taker.token(text, token_id)

    def _begins(self, started: pb.Started) -> None:
        self._has_begun = True
        notices = Notices.of(started, self._ignored)
        self._record.record_first_event(notices.not_honoured, notices.truncated_tokens)
        self._sending.headers = (
            notices.headers() + self._record.queue_headers() + self._record.route_headers()
        )


class Streamed:
    """The hot path: an event in, a send out. Implements ResponseSink. `break_silence`: heartbeats precede
    the first words.
    """

    def __init__(
        self, dialect: Dialect, sending: ResponseWriter, break_silence: Callable[[], Awaitable[None]]
    ) -> None:
        self._lines = dialect.lines
        self._token_lines = dialect.token
        self._sending = sending
        self._break_silence = break_silence
        self._has_begun = False
        self.is_sent = False

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None:
        lines = self._lines(event)
        if is_last:
            return at_once(self._end(lines))
        if not lines:
            return None
        if self._has_begun:
            return self._sending.more_at_once(lines)
        self._has_begun = True
        return self._begin(lines)

    def token(self, text: str, token_id: int) -> Awaitable[object] | None:
        lines = self._token_lines(text, token_id)
        if self._has_begun:
            return self._sending.more_at_once(lines)
        self._has_begun = True
        return self._begin(lines)

    def check_ended(self) -> None:
        if not self.is_sent:
            raise _has_no_end()

    async def _begin(self, lines: bytes) -> None:
        await self._break_silence()
        await self._sending.stream(lines)

    async def _end(self, lines: bytes) -> None:
        if not self._has_begun:
            await self._begin(lines)
            lines = b""
        await self._sending.end(lines)
        self.is_sent = True


class Collected:
    """The whole answer at once. Implements ResponseSink."""

    def __init__(self, dialect: Dialect, sending: ResponseWriter) -> None:
        self._dialect = dialect
        self._sending = sending
        self._events: list[pb.GenerateEvent] = []
        self.is_sent = False

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None:
        """Keeps a copy: an event may be a part of a message with many others."""
        kept = pb.GenerateEvent()
        kept.CopyFrom(event)
        self._events.append(kept)
        return self._send() if is_last else None

    def token(self, text: str, token_id: int) -> None:
        self._events.append(token_event(text, token_id, 0))

    def check_ended(self) -> None:
        if not self.is_sent:
            raise _has_no_end()

    async def _send(self) -> None:
        await self._sending.whole(self._dialect.body(self._events))
        self.is_sent = True


def _has_no_end() -> InternalError:
    return InternalError("the worker ended the answer without its last event")


@asynccontextmanager
async def heartbeats(
    interval_seconds: float, beat: Callable[[], Awaitable[None]]
) -> AsyncGenerator[None, None]:
    """`beat` is called again and again as long as the block runs, never afterwards; 0: never at all."""
    if not interval_seconds:
        yield
        return
    beating = asyncio.create_task(_beat(interval_seconds, beat), name="heartbeats")
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.wait({beating})
    if not beating.cancelled() and (error := beating.exception()) is not None:
        raise error


async def _beat(interval_seconds: float, beat: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(interval_seconds)
        await beat()
