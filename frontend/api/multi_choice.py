"""An answer of several choices, each a request of its own: they run at the same time, are passed on as they
come, and end together: one that fails, or a client that leaves, cancels them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope

from drover.errors import DroverError, InternalError
from drover.v1 import engine_pb2 as pb
from frontend.api.in_flight import InFlightRequests
from frontend.api.response import GenerationResponse, ResponseFormat, heartbeats
from frontend.api.response_writer import ResponseWriter
from frontend.api.wire import Notices
from frontend.observability.request_record import RequestRecord, record_of
from frontend.routing.backends.base import RequestHandle
from frontend.routing.backends.delivery import events_of


class ChoicesDialect(ResponseFormat, Protocol):
    def lines(self, choice: int, event: pb.GenerateEvent) -> bytes:
        """What a stream says of an event of that choice; empty when nothing."""

    def token(self, choice: int, text: str, token_id: int) -> bytes:
        """The same of one token, whose text is not empty."""

    def body(self, answers: Sequence[Sequence[pb.GenerateEvent]]) -> bytes:
        """The whole answer, of each choice's events."""


class OneChoice:
    """Implements frontend.api.response.Dialect, for an answer whose only choice nobody needs to gather."""

    def __init__(self, dialect: ChoicesDialect) -> None:
        self._dialect = dialect

    @property
    def stream_content_type(self) -> bytes:
        return self._dialect.stream_content_type

    def lines(self, event: pb.GenerateEvent) -> bytes:
        return self._dialect.lines(0, event)

    def token(self, text: str, token_id: int) -> bytes:
        return self._dialect.token(0, text, token_id)

    def body(self, events: list[pb.GenerateEvent]) -> bytes:
        return self._dialect.body([events])

    def heartbeat(self) -> bytes:
        return self._dialect.heartbeat()

    def error_line(self, error: DroverError) -> bytes:
        return self._dialect.error_line(error)

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return self._dialect.error_response(error, streamed)


class ChoicesAnswer(GenerationResponse):
    """`handles`: one per choice, which it owns. The rest is as for EngineResponse."""

    def __init__(
        self,
        dialect: ChoicesDialect,
        handles: Sequence[RequestHandle],
        stream: bool,
        in_flight: InFlightRequests,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(dialect, stream, in_flight, ignored)
        self._dialect = dialect
        self._handles = handles

    async def exchange(self, scope: Scope, receive: Receive, sending: ResponseWriter) -> None:
        async with AsyncExitStack() as owned:
            for handle in self._handles:
                owned.callback(handle.cancel)
            async with self._in_flight.track(scope, receive), AsyncExitStack() as silence:
                if self._stream:
                    beating = heartbeats(self._in_flight.heartbeat_seconds, sending.heartbeat)
                    await silence.enter_async_context(beating)
                events = await owned.enter_async_context(aclosing(interleaved(self._handles)))
                seen = _Seen(record_of(scope), sending, self._ignored)
                answers: list[list[pb.GenerateEvent]] = [[] for _ in self._handles]
                while seen.over < len(self._handles):
                    choice, event = await anext(events)
                    seen.event(event)
                    if not self._stream:
                        answers[choice].append(event)
                    elif lines := self._dialect.lines(choice, event):
                        await silence.aclose()
                        await sending.stream(lines)
                await (sending.end(b"") if self._stream else sending.whole(self._dialect.body(answers)))
            # The client has all; the workers' calls end by themselves, or they would count as cancelled.
            async for _ in events:
                pass


class _Seen:
    """What the log and the headers say of all choices together."""

    def __init__(self, record: RequestRecord, sending: ResponseWriter, ignored: Sequence[str]) -> None:
        self.over = 0
        self._record = record
        self._sending = sending
        self._ignored = ignored
        self._not_honoured: dict[str, None] = {}
        self._truncated_tokens = 0
        self._done = pb.Done()

    def event(self, event: pb.GenerateEvent) -> None:
        if event.HasField("started"):
            self._starts(event.started)
        if event.HasField("done"):
            self.over += 1
            _add(event.done, self._done)
            self._record.record_done(self._done)

    def _starts(self, started: pb.Started) -> None:
        self._not_honoured |= dict.fromkeys(started.not_honoured)
        self._truncated_tokens += started.truncated_tokens
        together = pb.Started(not_honoured=self._not_honoured, truncated_tokens=self._truncated_tokens)
        notices = Notices.of(together, self._ignored)
        if not self._record.ttft_ns:
            self._record.record_first_event(notices.not_honoured, notices.truncated_tokens)
        if not self._sending.began:
            self._sending.headers = (
                notices.headers() + self._record.queue_headers() + self._record.route_headers()
            )


def _add(done: pb.Done, total: pb.Done) -> None:
    """Tokens add up; times are those of the choice that took longest, since they run at the same time."""
    total.finish_reason = done.finish_reason
    total.prompt_tokens += done.prompt_tokens
    total.cached_tokens += done.cached_tokens
    total.completion_tokens += done.completion_tokens
    total.reasoning_tokens += done.reasoning_tokens
    if done.timings.decode_ns >= total.timings.decode_ns:
        total.timings.CopyFrom(done.timings)


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
