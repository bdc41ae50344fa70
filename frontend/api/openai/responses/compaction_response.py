"""The response to a compaction: one or two requests to the model, and one item."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.types import Receive, Scope

from drover.v1 import engine_pb2 as pb
from frontend.api.blocks import Blocks, Kind
from frontend.api.core.request import ChatRequest
from frontend.api.generation import BuiltRequest, Extend, Generation
from frontend.api.openai.responses.compaction import Compaction
from frontend.api.openai.responses.compaction_encode import CompactionEncoder
from frontend.api.openai.responses.summary import SummaryRequests
from frontend.api.response import GenerationResponse, RecordedEvents, missing_done
from frontend.api.response_writer import ResponseWriter
from frontend.models.model import CatalogModel
from frontend.observability.request_record import record_of
from frontend.routing.backends.base import token_event

_COUNTS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class Summarizer:
    """Asks the model for the summary of one conversation."""

    generation: Generation
    http: Request
    model: CatalogModel
    requests: SummaryRequests

    async def first(self) -> BuiltRequest:
        """Raises what `Generation.build_request` raises."""
        return await self._build(*self.requests.first())

    async def second(self) -> BuiltRequest:
        return await self._build(*self.requests.second())

    async def _build(self, chat: ChatRequest, extend: Extend) -> BuiltRequest:
        return await self.generation.build_request(self.http, self.model, chat, extend)


class CompactionResponse(GenerationResponse):
    """Asks once more where the answer has no text. If there is none again, the item holds the conversation's
    last messages instead: a client that cannot compact has to end its session.
    """

    def __init__(
        self,
        encoder: CompactionEncoder,
        summarizer: Summarizer,
        first: BuiltRequest,
        stream: bool,
        ignored: Sequence[str],
    ) -> None:
        super().__init__(encoder, stream, summarizer.generation.in_flight, [*ignored, *first.not_honoured])
        self._encoder = encoder
        self._summarizer = summarizer
        self._first = first

    async def exchange(self, scope: Scope, receive: Receive, writer: ResponseWriter) -> None:
        heartbeats = self._heartbeats(writer)

        async def begin() -> None:
            """At the model's first output: an error before it still has a status."""
            await heartbeats.stop()
            if self._stream and not writer.began:
                await writer.stream(self._encoder.beginning())

        async with self._in_flight.track(scope, receive), heartbeats:
            compaction, done = await self._compact(scope, writer, begin)
            record_of(scope).record_done(done)
            data = self._encoder.compacted(compaction, done)
            await (writer.end(data) if self._stream else writer.whole(data))

    async def _compact(
        self, scope: Scope, writer: ResponseWriter, begin: Callable[[], Awaitable[None]]
    ) -> tuple[Compaction, pb.Done]:
        requests, record = self._summarizer.requests, record_of(scope)
        first = await self._answer(self._first, scope, writer, begin)
        if first.text:
            return requests.compaction(first.text), first.done
        second = await self._answer(await self._summarizer.second(), scope, writer, begin)
        record.fields["compaction"] = "summary at the second attempt" if second.text else "no summary"
        done = _sum(first.done, second.done)
        return (requests.compaction(second.text) if second.text else requests.fallback()), done

    async def _answer(
        self, built: BuiltRequest, scope: Scope, writer: ResponseWriter, begin: Callable[[], Awaitable[None]]
    ) -> _TextSink:
        sink = _TextSink(begin, self._encoder.count)
        handle = self._summarizer.generation.submit(self._summarizer.http, built, stream=False)
        try:
            await handle.deliver(RecordedEvents(sink, record_of(scope), writer, self._ignored))
        finally:
            handle.cancel()
        sink.check_ended()
        return sink


class _TextSink:
    """Collects an answer, calls `begin` at its first output and `count` with each event. Implements
    frontend.api.response.ResponseSink.
    """

    def __init__(
        self, begin: Callable[[], Awaitable[None]], count: Callable[[pb.GenerateEvent], None]
    ) -> None:
        self._begin = begin
        self._count = count
        self._has_begun = False
        self._blocks = Blocks()
        self.done = pb.Done()
        self.is_sent = False

    @property
    def text(self) -> str:
        """Without thinking and calls."""
        return "".join(block.text for block in self._blocks.all if block.kind is Kind.TEXT).strip()

    def take(self, event: pb.GenerateEvent, is_last: bool) -> Awaitable[object] | None:
        self._count(event)
        for delta in event.deltas:
            self._blocks.gather(delta)
        if is_last:
            self.is_sent = True
            self.done.CopyFrom(event.done)
        if self._has_begun or not (event.deltas or is_last):
            return None
        self._has_begun = True
        return self._begin()

    def token(self, text: str, token_id: int) -> Awaitable[object] | None:
        return self.take(token_event(text, token_id, 0), is_last=False)

    def check_ended(self) -> None:
        if not self.is_sent:
            raise missing_done()


def _sum(*answers: pb.Done) -> pb.Done:
    """The usage of all of them."""
    total = pb.Done()
    total.CopyFrom(answers[-1])
    for name in _COUNTS:
        setattr(total, name, sum(getattr(each, name) for each in answers))
    return total
