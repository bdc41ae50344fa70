"""Responses of several choices (`n`). Each choice is a request of its own; all run at the same time and end
together: one that fails, or a client that leaves, cancels them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from starlette.types import Receive, Scope

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api.in_flight import InFlightRequests
from frontend.api.response import GenerationResponse, ResponseFormat, missing_done
from frontend.api.response_writer import ResponseWriter
from frontend.api.wire import DiagnosticHeaders
from frontend.observability.request_record import RequestRecord, record_of
from frontend.routing.backends.base import RequestHandle
from frontend.routing.backends.delivery import events_of


class MultiChoiceEncoder(ResponseFormat, Protocol):
    """A ResponseEncoder whose frames and bodies can hold several choices, counted from 0."""

    def lines(self, event: pb.GenerateEvent, choice: int = 0) -> bytes:
        """The frames of a choice's event; empty where it shows nothing."""

    def token(self, text: str, token_id: int, choice: int = 0) -> bytes:
        """The frames of one token of a choice, whose text is not empty."""

    def body(self, *choices: Sequence[pb.GenerateEvent]) -> bytes:
        """The body of a response that is not streamed, of each choice's events."""


class MultiChoiceResponse(GenerationResponse):
    """The response to several submitted requests, one per choice, whose handles it owns. `per_prompt`: number
    of choices of each prompt.
    """

    def __init__(
        self,
        encoder: MultiChoiceEncoder,
        handles: Sequence[RequestHandle],
        stream: bool,
        in_flight: InFlightRequests,
        per_prompt: int,
        ignored: Sequence[str] = (),
    ) -> None:
        super().__init__(encoder, stream, in_flight, ignored)
        self._encoder = encoder
        self._handles = handles
        self._per_prompt = per_prompt

    async def exchange(self, scope: Scope, receive: Receive, writer: ResponseWriter) -> None:
        record, choices = record_of(scope), len(self._handles)
        tracker = ChoiceTracker(choices, self._per_prompt, record, writer, self._ignored)
        collected: list[list[pb.GenerateEvent]] = [[] for _ in self._handles]
        try:
            async with aclosing(merged(self._handles)) as events:
                async with self._in_flight.track(scope, receive), self._heartbeats(writer) as heartbeats:
                    async for choice, event in events:
                        tracker.saw(choice, event)
                        if not self._stream:
                            collected[choice].append(event)
                        elif lines := self._encoder.lines(event, choice):
                            await heartbeats.stop()
                            await writer.stream(lines)
                        if tracker.finished:
                            break
                    if self._stream:
                        await writer.end(b"")
                    else:
                        await writer.whole(self._encoder.body(*collected))
                await drain(events)
        finally:
            for handle in self._handles:
                handle.cancel()


class ChoiceTracker:
    """Notes what the record and the headers report of all choices together. `finished`: all have ended."""

    def __init__(
        self,
        choices: int,
        per_prompt: int,
        record: RequestRecord,
        writer: ResponseWriter,
        ignored: Sequence[str],
    ) -> None:
        self._running = choices
        self._dones: list[pb.Done | None] = [None] * choices
        self._per_prompt = per_prompt
        self._record = record
        self._writer = writer
        self._ignored = ignored
        self._not_honoured: dict[str, None] = {}
        self._truncated_tokens = 0

    @property
    def finished(self) -> bool:
        return not self._running

    def saw(self, choice: int, event: pb.GenerateEvent) -> None:
        if event.HasField("started"):
            self._saw_started(event.started)
        if event.HasField("done"):
            self._running -= 1
            done = self._dones[choice] = pb.Done()
            done.CopyFrom(event.done)
            self._record.record_done(together(self._dones, self._per_prompt))

    def _saw_started(self, started: pb.Started) -> None:
        self._not_honoured |= dict.fromkeys(started.not_honoured)
        self._truncated_tokens += started.truncated_tokens
        together = pb.Started(not_honoured=self._not_honoured, truncated_tokens=self._truncated_tokens)
        diagnostics = DiagnosticHeaders.of(together, self._ignored)
        if not self._record.ttft_ns:
            self._record.record_first_event(diagnostics.not_honoured, diagnostics.truncated_tokens)
        if not self._writer.began:
            self._writer.headers = (
                diagnostics.headers() + self._record.queue_headers() + self._record.route_headers()
            )


def together(dones: Sequence[pb.Done | None], per_prompt: int) -> pb.Done:
    """The end of several choices, grouped by prompt; None for one that has not ended.

    Each prompt's tokens count once; those count as cached that were cached for all of the prompt's choices.
    Times are those of the choice that took longest, since all run at the same time.
    """
    total = pb.Done()
    for at in range(0, len(dones), per_prompt):
        ends = [done for done in dones[at : at + per_prompt] if done is not None]
        if not ends:
            continue
        total.finish_reason = ends[-1].finish_reason
        total.prompt_tokens += max(done.prompt_tokens for done in ends)
        total.cached_tokens += min(done.cached_tokens for done in ends)
        total.completion_tokens += sum(done.completion_tokens for done in ends)
        total.reasoning_tokens += sum(done.reasoning_tokens for done in ends)
        longest = max(ends, key=lambda done: done.timings.decode_ns)
        if longest.timings.decode_ns >= total.timings.decode_ns:
            total.timings.CopyFrom(longest.timings)
    return total


async def merged(handles: Sequence[RequestHandle]) -> AsyncGenerator[tuple[int, pb.GenerateEvent], None]:
    """Yield the events of all requests as they come, each with its request's index.

    At most one event per request is read ahead. Raises the first failure of a request that has not ended.
    """
    streams = [events_of(handle) for handle in handles]
    ended: set[int] = set()
    reading = {asyncio.create_task(_next(stream)): index for index, stream in enumerate(streams)}
    try:
        while reading:
            ready, _ = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(ready, key=lambda each: reading[each]):
                index = reading.pop(task)
                event = _event_of(task, has_ended=index in ended)
                if event is None:
                    continue
                if event.HasField("done"):
                    ended.add(index)
                reading[asyncio.create_task(_next(streams[index]))] = index
                yield index, event
    finally:
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


async def drain(events: AsyncGenerator[tuple[int, pb.GenerateEvent], None]) -> None:
    """Read the calls to their end; otherwise the workers would record cancellations."""
    async for _ in events:
        pass


def _event_of(task: asyncio.Task[pb.GenerateEvent | None], has_ended: bool) -> pb.GenerateEvent | None:
    """None at the end of the stream. Errors after `done` are ignored."""
    try:
        event = task.result()
    except DroverError:
        if has_ended:
            return None
        raise
    if event is None and not has_ended:
        raise missing_done()
    return event


async def _next(stream: AsyncGenerator[pb.GenerateEvent, None]) -> pb.GenerateEvent | None:
    return await anext(stream, None)
