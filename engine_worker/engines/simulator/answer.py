"""One request's way from engine events to what its stream gets."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.events import Call, Event, Fail, Hang, Pause, Piece
from engine_worker.engines.simulator.logprobs import Logprobs
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher


@dataclass(frozen=True, slots=True)
class Finish:
    reason: pb.Done.FinishReason.ValueType
    matched_stop: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an answer will be.

    `events` end where the end-of-sequence token comes; `limit`: tokens at most; `most_tokens`: more than that
    do not come, whatever the limit is; `key`: what makes this answer's ids its own.
    """

    events: Iterator[Event]
    most_tokens: int
    limit: int
    stops: Sequence[str]
    key: bytes
    started: pb.Started
    logprobs: Logprobs | None


class Answer:
    """Advances by one event for each engine step, and puts what it gives into the mailbox.

    Tokens whose text is held back (half a character, the beginning of a stop text) wait for it: a delta of
    tokens alone would say that their text is never shown.
    """

    def __init__(self, plan: Plan, mailbox: Mailbox) -> None:
        self._events = plan.events
        self._limit = plan.limit
        self._stops = StopMatcher(plan.stops)
        self._key = plan.key
        self._started: pb.Started | None = plan.started
        self._logprobs = plan.logprobs
        self._mailbox = mailbox
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting_ids: list[int] = []
        self._waiting_logprobs: list[pb.TokenLogprob] = []
        self._calls = 0
        self._due: Finish | Fail | None = None
        self.produced_ids: list[int] = []
        self.completion_tokens = 0
        self.reasoning_tokens = 0

    def begin(self, cached_tokens: int) -> None:
        """What its prompt found in the prefix cache; of one that goes on, the beginning has been told."""
        if self._started is not None:
            self._started.cached_tokens = cached_tokens

    def advance(self) -> Finish | Pause | Hang | Fail | None:
        """One step. None: there is more to come."""
        if self._due is not None:
            return self._due
        if self.completion_tokens >= self._limit:
            return self._cut_off()
        event = next(self._events, None)
        if isinstance(event, Piece):
            return self._say(event)
        if isinstance(event, Call):
            return self._call(event)
        return self._end() if event is None else event

    def replay(self, tokens: int, into: Mailbox) -> None:
        """So many tokens once more, into a mailbox of their own; pauses are over."""
        self._count(())
        mailbox, self._mailbox = self._mailbox, into
        while self._due is None and self.completion_tokens < tokens:
            outcome = self.advance()
            self._due = None if isinstance(outcome, Pause | Hang) else outcome
        self._mailbox = mailbox

    def _say(self, piece: Piece) -> Finish | None:
        position = self.completion_tokens
        if position + len(piece.ids) > self._limit:
            piece = piece.cut(self._limit - position)
        if piece.thinking:
            return self._think(piece, position)
        self._count(piece.ids)
        shown = self._stops.feed(self._decoder.decode(piece.data))
        finish = self._finish_if_due()
        if finish is not None and finish.matched_stop is None:
            shown += self._held_back()
        self._waiting_ids += piece.ids
        if self._logprobs:
            self._waiting_logprobs += self._logprobs.of(piece.ids, position)
        if shown or finish is not None:
            self._show(shown)
        return finish

    def _think(self, piece: Piece, position: int) -> Finish | None:
        self._show_held_back()
        self._count(piece.ids)
        self.reasoning_tokens += len(piece.ids)
        text = piece.data.decode(errors="replace")
        logprobs = self._logprobs.of(piece.ids, position) if self._logprobs else ()
        self._mailbox.thinking(text, piece.ids, self.completion_tokens, logprobs)
        return self._finish_if_due()

    def _call(self, call: Call) -> Finish | None:
        """A call comes whole or, where the limit is in its middle, as tokens without text."""
        room = self._limit - self.completion_tokens
        ids = call.ids[:room]
        self._show_held_back()
        self._count(ids)
        if len(ids) < len(call.ids):
            self._mailbox.content("", ids, self.completion_tokens)
        else:
            self._mailbox.tool_call(self._delta(call), ids, self.completion_tokens)
        return self._finish_if_due()

    def _delta(self, call: Call) -> pb.ToolCallDelta:
        index = self._calls
        self._calls += 1
        return pb.ToolCallDelta(
            index=index,
            id=call.id or f"call_{blake2b(b'call%d' % index, key=self._key, digest_size=4).hexdigest()}",
            name=call.name,
            arguments_fragment=call.arguments_json,
            complete=True,
        )

    def _count(self, ids: Sequence[int]) -> None:
        if self._started is not None:
            self._mailbox.started(self._started)
            self._started = None
        self.produced_ids.extend(ids)
        self.completion_tokens += len(ids)

    def _finish_if_due(self) -> Finish | None:
        if self._stops.matched is not None:
            return Finish(pb.Done.STOP, self._stops.matched)
        if self.completion_tokens >= self._limit:
            return Finish(pb.Done.LENGTH)
        return None

    def _end(self) -> Finish:
        self._count(())
        self.completion_tokens += 1
        self._show_held_back()
        return Finish(pb.Done.STOP)

    def _cut_off(self) -> Finish:
        self._count(())
        return Finish(pb.Done.LENGTH)

    def _show_held_back(self) -> None:
        text = self._held_back()
        if text or self._waiting_ids:
            self._show(text)

    def _show(self, text: str) -> None:
        """With the tokens that wait."""
        self._mailbox.content(text, self._waiting_ids, self.completion_tokens, self._waiting_logprobs)
        self._waiting_ids, self._waiting_logprobs = [], []

    def _held_back(self) -> str:
        """A character that is cut is left out."""
        self._decoder.reset()
        return self._stops.flush()
