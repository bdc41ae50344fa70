"""An answer of several choices, each a request of its own: they run at the same time, are passed on as they
come, and end together: one that fails, or a client that leaves, cancels them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.dialects.answer import Answer, Wording
from frontend.dialects.heartbeat import heartbeats
from frontend.dialects.interleaved import interleaved
from frontend.dialects.notices import Notices
from frontend.dialects.open_answers import OpenAnswers
from frontend.dialects.sending import Sending
from frontend.fleet.base import RequestHandle
from frontend.telemetry.request_log import RequestRecord, record_of


class ChoicesDialect(Wording, Protocol):
    def lines(self, choice: int, event: pb.GenerateEvent) -> bytes:
        """What a stream says of an event of that choice; empty when nothing."""

    def token(self, choice: int, text: str, token_id: int) -> bytes:
        """The same of one token, whose text is not empty."""

    def body(self, answers: Sequence[Sequence[pb.GenerateEvent]]) -> bytes:
        """The whole answer, of each choice's events."""


class OneChoice:
    """Implements frontend.dialects.answer.Dialect, for an answer whose only choice nobody needs to gather."""

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


class ChoicesAnswer(Answer):
    """`submits`: one per choice. The rest is as for EngineAnswer."""

    def __init__(
        self,
        dialect: ChoicesDialect,
        submits: Sequence[Callable[[], RequestHandle]],
        stream: bool,
        answers: OpenAnswers,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(dialect, stream, answers, ignored)
        self._dialect = dialect
        self._submits = submits

    async def exchange(self, scope: Scope, receive: Receive, sending: Sending) -> None:
        async with AsyncExitStack() as owned:
            async with self._answers.hold(scope, receive), AsyncExitStack() as silence:
                if self._stream:
                    beating = heartbeats(self._answers.heartbeat_seconds, sending.heartbeat)
                    await silence.enter_async_context(beating)
                handles = []
                for submit in self._submits:
                    handles.append(submit())
                    owned.callback(handles[-1].cancel)
                events = await owned.enter_async_context(aclosing(interleaved(handles)))
                seen = _Seen(record_of(scope), sending, self._ignored)
                answers: list[list[pb.GenerateEvent]] = [[] for _ in handles]
                while seen.over < len(handles):
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

    def __init__(self, record: RequestRecord, sending: Sending, ignored: Sequence[str]) -> None:
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
            self._record.saw_done(self._done)

    def _starts(self, started: pb.Started) -> None:
        self._not_honoured |= dict.fromkeys(started.not_honoured)
        self._truncated_tokens += started.truncated_tokens
        together = pb.Started(not_honoured=self._not_honoured, truncated_tokens=self._truncated_tokens)
        notices = Notices.of(together, self._ignored)
        if not self._record.ttft_ns:
            self._record.saw_first_event(notices.not_honoured, notices.truncated_tokens)
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
