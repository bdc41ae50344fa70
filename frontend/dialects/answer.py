"""An answer of an engine on its way to the client: it owns the request's handle, and cancels it when the
client leaves or the deadline passes, in whatever phase the request is.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from drover.errors import DroverError, InternalError
from drover.v1 import engine_pb2 as pb
from frontend.dialects.heartbeat import heartbeats
from frontend.dialects.notices import Notices
from frontend.dialects.open_answers import OpenAnswers
from frontend.fleet.base import RequestHandle
from frontend.telemetry.request_log import RequestRecord, record_of

_log = logging.getLogger("drover.frontend")
_LAST_WORD_SECONDS = 5.0
# Proxies and browsers pass each piece on when it comes.
_STREAM_HEADERS = [(b"x-accel-buffering", b"no"), (b"cache-control", b"no-cache")]
_JSON = b"application/json; charset=utf-8"


class Wording(Protocol):
    """How a protocol frames what is sent, and words an error."""

    @property
    def stream_content_type(self) -> bytes: ...

    def heartbeat(self) -> bytes:
        """What a stream may say before the answer begins, and clients make nothing of."""

    def error_line(self, error: DroverError) -> bytes:
        """The end of a stream that broke."""

    def error_response(self, error: DroverError, streamed: bool) -> Response: ...


class Dialect(Wording, Protocol):
    """What differs between protocols."""

    def lines(self, event: pb.GenerateEvent) -> bytes:
        """What a stream says of an event; empty when nothing."""

    def body(self, events: list[pb.GenerateEvent]) -> bytes:
        """The whole answer of a request that is not streamed."""


class Answer(Response, ABC):
    """However an exchange with engines ends, the client hears of it in its protocol's words. `ignored`: names
    of what the request set and nobody honours.
    """

    def __init__(self, wording: Wording, stream: bool, answers: OpenAnswers, ignored: Sequence[str]) -> None:
        super().__init__()
        self._wording = wording
        self._stream = stream
        self._answers = answers
        self._ignored = ignored

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = Sending(send, self._wording)
        try:
            await self.exchange(scope, receive, sending)
            return
        except DroverError as leaf:
            error = leaf
        except Exception as exception:  # noqa: BLE001 - the last resort: a stream ends with a word, not a cut
            _log.exception("an answer failed in a way that nobody foresaw")
            error = InternalError(f"internal error: {type(exception).__name__}")
        record_of(scope).failed(error)
        if sending.began:
            await sending.end(self._wording.error_line(error))
        else:
            await self._wording.error_response(error, self._stream)(scope, receive, send)

    @abstractmethod
    async def exchange(self, scope: Scope, receive: Receive, sending: Sending) -> None:
        """Raises DroverError for what failed, whatever was sent before."""


class EngineAnswer(Answer):
    """`submit` is called once, when the answer begins to be sent."""

    def __init__(
        self,
        dialect: Dialect,
        submit: Callable[[], RequestHandle],
        stream: bool,
        answers: OpenAnswers,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(dialect, stream, answers, ignored)
        self._dialect = dialect
        self._submit = submit

    async def exchange(self, scope: Scope, receive: Receive, sending: Sending) -> None:
        record = record_of(scope)

        def begins(started: pb.Started) -> None:
            notices = Notices.of(started, self._ignored)
            record.saw_first_event(notices.not_honoured, notices.truncated_tokens)
            sending.headers = notices.headers() + record.queue_headers() + record.route_headers()

        async with AsyncExitStack() as owned:
            async with self._answers.hold(scope, receive):
                handle = self._submit()
                owned.callback(handle.cancel)
                events = await owned.enter_async_context(aclosing(aiter(handle)))
                async with aclosing(_recorded(events, record, begins)) as recorded:
                    if self._stream:
                        await self._relay(recorded, sending)
                    else:
                        await sending.whole(self._dialect.body([event async for event in recorded]))
            await to_the_end(events)

    async def _relay(self, events: AsyncIterator[pb.GenerateEvent], sending: Sending) -> None:
        """The hot path: one message in, one send out. Only heartbeats come before the first words."""
        await sending.stream(await self._first_lines(events, sending))
        async for event in events:
            lines = self._dialect.lines(event)
            if lines:
                await sending.more(lines)
        await sending.end(b"")

    async def _first_lines(self, events: AsyncIterator[pb.GenerateEvent], sending: Sending) -> bytes:
        async with heartbeats(self._answers.heartbeat_seconds, sending.heartbeat):
            async for event in events:
                lines = self._dialect.lines(event)
                if lines:
                    return lines
        return b""


class Sending:
    """What has been sent of a response. `headers` go out beside those of its kind."""

    __slots__ = ("_send", "_wording", "began", "headers")

    def __init__(self, send: Send, wording: Wording) -> None:
        self._send = send
        self._wording = wording
        self.began = False
        self.headers: list[tuple[bytes, bytes]] = []

    async def begin(
        self, content_type: bytes, length: int | None = None, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """It may wait for a client that does not read, and be cancelled there: then it has not begun."""
        headers = [(b"content-type", content_type), *self.headers, *more]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.began = True

    async def stream(self, data: bytes) -> None:
        """Begins it, where it has not begun."""
        if not self.began:
            await self.begin(self._wording.stream_content_type, more=_STREAM_HEADERS)
        await self.more(data)

    async def heartbeat(self) -> None:
        await self.stream(self._wording.heartbeat())

    async def more(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data})

    async def whole(self, body: bytes) -> None:
        await self.begin(_JSON, len(body))
        await self.end(body)


async def _recorded(
    events: AsyncIterator[pb.GenerateEvent], record: RequestRecord, begins: Callable[[pb.Started], None]
) -> AsyncGenerator[pb.GenerateEvent, None]:
    """The events up to the last one, with their times in the request's log line."""
    began = False
    async for event in events:
        if not began:
            began = True
            begins(event.started)
        if event.HasField("done"):
            record.saw_done(event.done)
            yield event
            return
        yield event
    raise InternalError("the worker ended the answer without its last event")


async def to_the_end(events: AsyncGenerator[object, None]) -> None:
    """The client has everything. The worker's call ends by itself, or it would count as cancelled there."""
    with suppress(DroverError, TimeoutError):
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            async for _ in events:
                pass
