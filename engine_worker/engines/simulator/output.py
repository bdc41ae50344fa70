"""Turn the scripted or generated events of one answer into its output."""

from __future__ import annotations

import codecs
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.script import Event, Fail, Hang, Pause, Piece, ScriptedCall
from engine_worker.engines.simulator.tokens import bytes_of, bytes_of_all, rest_of_character, token_of
from engine_worker.output import base
from engine_worker.output.delivered_filter import DeliveredFilter
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher


@dataclass(frozen=True, slots=True)
class Finish:
    """Why an answer ended."""

    reason: pb.Done.FinishReason.ValueType
    matched_stop: str | None = None


@dataclass(frozen=True, slots=True)
class OutputPlan:
    """The events of an answer, and where it ends.

    `events` end before the end-of-sequence token. `limit` is the most tokens that the request allows,
    `most_tokens` the most that `events` have. `key` seeds the ids of tool calls.
    """

    events: Iterator[Event]
    most_tokens: int
    limit: int
    stops: Sequence[str]
    key: bytes
    started: pb.Started
    logprobs: Logprobs | None


class SimulatedOutput:
    """One answer: advances by one event for each engine step, and fills the mailbox.

    Tokens whose text is held back (half a character, the beginning of a stop text) wait for it: a delta of
    tokens without text means that their text is never shown.
    """

    def __init__(self, plan: OutputPlan, mailbox: Mailbox) -> None:
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
        """Set the cached tokens of `started`, unless that was sent before (a resumed answer)."""
        if self._started is not None:
            self._started.cached_tokens = cached_tokens

    def advance(self) -> Finish | Pause | Hang | Fail | None:
        """Make one step. None: the answer continues."""
        if self._due is not None:
            return self._due
        if self.completion_tokens >= self._limit:
            return self._cut_off()
        event = next(self._events, None)
        if isinstance(event, Piece):
            return self._put_piece(event)
        if isinstance(event, ScriptedCall):
            return self._put_call(event)
        return self._end() if event is None else event

    def replay(self, tokens: int, into: Mailbox) -> None:
        """Produce the first `tokens` tokens again, into another mailbox and without pauses."""
        self._count(())
        mailbox, self._mailbox = self._mailbox, into
        while self._due is None and self.completion_tokens < tokens:
            outcome = self.advance()
            self._due = None if isinstance(outcome, Pause | Hang) else outcome
        self._mailbox = mailbox

    def _put_piece(self, piece: Piece) -> Finish | None:
        position = self.completion_tokens
        if position + len(piece.ids) > self._limit:
            piece = piece.cut(self._limit - position)
        if piece.thinking:
            return self._put_thinking(piece, position)
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

    def _put_thinking(self, piece: Piece, position: int) -> Finish | None:
        self._show_held_back()
        self._count(piece.ids)
        self.reasoning_tokens += len(piece.ids)
        text = piece.data.decode(errors="replace")
        logprobs = self._logprobs.of(piece.ids, position) if self._logprobs else ()
        self._mailbox.thinking(text, piece.ids, self.completion_tokens, logprobs)
        return self._finish_if_due()

    def _put_call(self, call: ScriptedCall) -> Finish | None:
        """Put a whole call or, if the token limit is within it, its tokens without text."""
        room = self._limit - self.completion_tokens
        ids = call.ids[:room]
        self._show_held_back()
        self._count(ids)
        if len(ids) < len(call.ids):
            self._mailbox.content("", ids, self.completion_tokens)
        else:
            self._mailbox.tool_call(self._delta(call), ids, self.completion_tokens)
        return self._finish_if_due()

    def _delta(self, call: ScriptedCall) -> pb.ToolCallDelta:
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
        """Put text with the tokens that waited for it."""
        self._mailbox.content(text, self._waiting_ids, self.completion_tokens, self._waiting_logprobs)
        self._waiting_ids, self._waiting_logprobs = [], []

    def _held_back(self) -> str:
        """Return the held back text, without an incomplete character."""
        self._decoder.reset()
        return self._stops.flush()


MAX_TOP = 20
_LEAST_CHANCE = 0.4
_CHANCE_SPREAD = 0.55


def interrupted_output(interruptions: Sequence[Event], mailbox: Mailbox) -> SimulatedOutput | None:
    """Pauses, hangs and failures of a request that generates nothing; None without any."""
    if not interruptions:
        return None
    events = iter(interruptions)
    plan = OutputPlan(events, most_tokens=0, limit=1, stops=(), key=b"", started=pb.Started(), logprobs=None)
    return SimulatedOutput(plan, mailbox)


class Logprobs:
    """Plausible log probabilities, a function of the prompt and the position.

    The `top` alternatives come from `vocabulary`, more than MAX_TOP different ids.
    """

    def __init__(self, vocabulary: Sequence[int], key: bytes, top: int) -> None:
        self._vocabulary = vocabulary
        self._key = key
        self._top = top

    def of(self, ids: Sequence[int], position: int) -> list[pb.TokenLogprob]:
        """One log probability for each id; the first is token number `position` of the answer."""
        return [self._of_token(token_id, position + at) for at, token_id in enumerate(ids)]

    def _of_token(self, token_id: int, position: int) -> pb.TokenLogprob:
        dice = blake2b(b"logprob%d" % position, key=self._key, digest_size=8).digest()
        chance = _LEAST_CHANCE + _CHANCE_SPREAD * dice[0] / 255
        result = pb.TokenLogprob(token_id=token_id, token=bytes_of(token_id), logprob=math.log(chance))
        if self._top:
            result.top.add(token_id=token_id, token=result.token, logprob=result.logprob)
            self._add_others(result, 1 - chance, int.from_bytes(dice[1:], "big"))
        return result

    def _add_others(self, result: pb.TokenLogprob, chance_left: float, start: int) -> None:
        """Give each alternative half of the probability that is left."""
        for other in islice(self._others(result.token_id, start), self._top - 1):
            chance_left /= 2
            result.top.add(token_id=other, token=bytes_of(other), logprob=math.log(chance_left))

    def _others(self, token_id: int, start: int) -> Iterator[int]:
        for at in range(len(self._vocabulary)):
            other = self._vocabulary[(start + at) % len(self._vocabulary)]
            if other != token_id:
                yield other


async def resume(output: SimulatedOutput, earlier: pb.Continuation, mailbox: Mailbox) -> None:
    """Replay the produced tokens, and put what the client has not received of their text."""
    replayed = Mailbox()
    output.replay(len(earlier.produced_ids), replayed)
    if not replayed.ready:
        return
    delivered = DeliveredFilter(earlier)
    for delta in (await replayed.take()).deltas:
        for piece in _pieces(delta, earlier.tool_call_ids_sent):
            if (new := delivered.new_part(piece)) is not None:
                _put(new, delta.completion_tokens, mailbox)


def add_earlier(done: pb.Done, earlier: pb.Continuation) -> None:
    """Add the counts and times of earlier attempts to those of this one."""
    done.cached_tokens = earlier.cached_tokens
    for name in ("queue_ns", "load_ns", "prefill_ns", "decode_ns"):
        setattr(done.timings, name, getattr(done.timings, name) + getattr(earlier.timings, name))


def continued_text(produced_ids: Sequence[int], text: Iterator[Event], is_same: bool) -> Iterator[Event]:
    """The produced tokens, then the rest of the same text (`is_same`), or else another text.

    The other text starts at its first word, after the rest of a character that the produced tokens split.
    """
    yield from (Piece((each,), bytes_of(each)) for each in produced_ids)
    if is_same:
        text = islice(text, len(produced_ids), None)
    else:
        yield from (Piece((token_of(byte),), byte) for byte in rest_of_character(bytes_of_all(produced_ids)))
    yield from text


def until_token(events: Iterator[Event], stops: frozenset[int]) -> Iterator[Event]:
    """The events up to the first token of `stops`, which ends the answer and is not part of it."""
    for event in events:
        if isinstance(event, Piece):
            at = next((number for number, token in enumerate(event.ids) if token in stops), None)
            if at is not None:
                if at:
                    yield event.cut(at)
                return
        yield event


def _pieces(delta: pb.Delta, call_ids: Sequence[str]) -> Iterator[base.Piece]:
    if delta.content:
        yield base.Content(delta.content)
    if delta.thinking:
        yield base.Thinking(delta.thinking)
    for call in delta.tool_calls:
        call_id = call_ids[call.index] if call.index < len(call_ids) else call.id
        yield base.CallPart(call.index, call_id, call.name, call.arguments_fragment, call.complete)


def _put(piece: base.Piece, completion_tokens: int, mailbox: Mailbox) -> None:
    match piece:
        case base.Content(text):
            mailbox.content(text, (), completion_tokens)
        case base.Thinking(text):
            mailbox.thinking(text, (), completion_tokens)
        case base.CallPart():
            call = pb.ToolCallDelta(
                index=piece.index,
                id=piece.id,
                name=piece.name,
                arguments_fragment=piece.arguments,
                complete=piece.complete,
            )
            mailbox.tool_call(call, (), completion_tokens)
