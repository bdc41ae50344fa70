"""From SGLang's chunks to events."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drover.errors import (
    ClientLeft,
    ConstraintRejected,
    ContextExceeded,
    DroverError,
    EngineFailed,
    InvalidRequest,
    QueueFull,
)
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.logprobs import Logprobs
from engine_worker.engines.sglang.text import TextSource
from engine_worker.engines.sglang.upstream.process import Chunk, Finish, Meta
from engine_worker.output.base import CallPart, Content, OutputParser, Piece, PlainText, Thinking
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher

_NS_PER_SECOND = 1_000_000_000


@dataclass(slots=True)
class Answer:
    """What an answer is made with. `stops`: the texts that SGLang does not look for; `earlier`: what was
    produced before this attempt, and `replayed` its text; `filtered`: what the client hears of a piece.
    """

    started: pb.Started
    parser: OutputParser
    text: TextSource
    stops: StopMatcher = field(default_factory=lambda: StopMatcher(()))
    logprobs: Logprobs | None = None
    earlier: pb.Continuation | None = None
    replayed: str = ""
    filtered: Callable[[Piece], Piece | None] | None = None


class Output:
    """Feed it the chunks of one answer, in order; it fills the mailbox. Text that nothing looks at, which is
    most answers', goes there in a few steps, whatever else an answer can be made with.
    """

    def __init__(self, answer: Answer, mailbox: Mailbox) -> None:
        self._answer = answer
        self._mailbox = mailbox
        self._clock = _Clock()
        self._ids: list[int] = []
        self._logprobs: list[pb.TokenLogprob] = []
        self._earlier_tokens = len(answer.earlier.produced_ids) if answer.earlier else 0
        self._tokens = self._earlier_tokens
        self._reasoning_tokens = 0
        self._is_plain = (
            isinstance(answer.parser, PlainText)
            and answer.stops.is_idle
            and answer.logprobs is None
            and answer.filtered is None
        )
        self.has_begun = False
        self.finished = False
        self.done = pb.Done()

    def begin(self) -> None:
        """Of an answer that goes on: the prompt, and what earlier tokens said, whose ids are known."""
        if self._answer.earlier is not None:
            self._mailbox.started(self._answer.started)
        if not self._answer.replayed:
            return
        self._show(self._answer.parser.feed(self._answer.stops.feed(self._answer.replayed)))
        if self._answer.stops.matched is not None:
            self._finish(pb.Done(finish_reason=pb.Done.STOP, matched_stop=self._answer.stops.matched), {})

    @property
    def new_tokens(self) -> int:
        """Produced so far, without those of earlier attempts."""
        return self._tokens - self._earlier_tokens

    def exhausted(self) -> None:
        """The earlier tokens were all that the answer may have."""
        if not self.finished:
            self._finish(pb.Done(finish_reason=pb.Done.LENGTH), {})

    def feed(self, chunk: Chunk) -> bool:
        """Whether the answer is over. Raises a leaf where SGLang gave the request up."""
        meta = chunk["meta_info"]
        finish = meta.get("finish_reason")
        if finish is not None and finish["type"] == "abort":
            raise _error(finish)
        if not self.has_begun:
            self._begins(meta)
        self._tokens = self._earlier_tokens + meta["completion_tokens"]
        ids = chunk["output_ids"]
        if finish is not None:
            ids = _without_end(ids, finish)
        text = self._answer.text.of(chunk, ids)
        if not self._is_plain:
            self._read(text, ids, meta)
        elif text:
            self._mailbox.content(text, [*self._ids, *ids] if self._ids else ids, self._tokens)
            self._ids = []
        else:
            self._ids += ids
        if finish is not None or self._answer.stops.matched is not None:
            self._ends(finish, meta)
        return self.finished

    def _begins(self, meta: Meta) -> None:
        """The beginning leaves with the first tokens, so that what the cache had can still be told."""
        self.has_begun = True
        self._clock.saw_first()
        if self._answer.earlier is None:
            self._answer.started.cached_tokens = meta.get("cached_tokens", 0)
            self._mailbox.started(self._answer.started)

    def _read(self, text: str, ids: Sequence[int], meta: Meta) -> None:
        """Text that may have stop texts, markup, or log probabilities with it."""
        self._ids.extend(ids)
        if self._answer.logprobs is not None:
            self._logprobs.extend(self._answer.logprobs.of(meta)[: len(ids)])
        shown = self._answer.stops.feed(text)
        pieces = self._answer.parser.feed(shown)
        if shown and not pieces:
            self._swallowed()
        self._show(pieces)

    def _ends(self, finish: Finish | None, meta: Meta) -> None:
        """A stop text of ours comes before any reason of SGLang's."""
        if self._answer.stops.matched is not None:
            self._finish(pb.Done(finish_reason=pb.Done.STOP, matched_stop=self._answer.stops.matched), meta)
        elif finish is not None:
            self._finish(_done(finish), meta)

    def _swallowed(self) -> None:
        """Markup, or text that waits: its tokens are told at once. What is markup has no log probabilities
        (recorded case "chat logprobs").
        """
        if not self._answer.parser.holds:
            self._logprobs.clear()
        if self._ids:
            self._mailbox.content("", self._take_ids(), self._tokens)

    def _show(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            heard = self._answer.filtered(piece) if self._answer.filtered else piece
            if heard is not None:
                self._put(heard)

    def _put(self, piece: Piece) -> None:
        ids, logprobs = self._take_ids(), self._logprobs
        self._logprobs = []
        match piece:
            case Content(text):
                self._mailbox.content(text, ids, self._tokens, logprobs)
            case Thinking(text):
                self._reasoning_tokens += len(ids)
                self._mailbox.thinking(text, ids, self._tokens, logprobs)
            case CallPart():
                self._mailbox.tool_call(_delta(piece), ids, self._tokens, logprobs)

    def _take_ids(self) -> list[int]:
        ids, self._ids = self._ids, []
        return ids

    def _finish(self, done: pb.Done, meta: Meta) -> None:
        if self._answer.stops.matched is None:
            held = self._answer.stops.feed(self._answer.text.finish()) + self._answer.stops.flush()
            self._show(self._answer.parser.feed(held))
        self._show(self._answer.parser.finish())
        if self._ids or self._logprobs:
            self._put(Content(""))
        self._end(done, meta)

    def _end(self, done: pb.Done, meta: Meta) -> None:
        earlier = self._answer.earlier
        # SGLang counts what an image takes, which the prompt's own ids do not show.
        told = 0 if earlier else meta.get("prompt_tokens", 0)
        done.prompt_tokens = told or len(self._answer.started.prompt_ids)
        done.cached_tokens = earlier.cached_tokens if earlier else meta.get("cached_tokens", 0)
        done.completion_tokens = self._tokens
        # SGLang counts them only where a grammar waits for their end.
        done.reasoning_tokens = max(meta.get("reasoning_tokens", 0), self._reasoning_tokens)
        done.timings.CopyFrom(self._clock.timings(meta))
        if earlier is not None:
            _add(done.timings, earlier.timings)
        self.finished, self.done = True, done
        self._mailbox.done(done)


class _Clock:
    """SGLang's times of the phases, or what can be seen from here."""

    def __init__(self) -> None:
        self._began_ns = time.perf_counter_ns()
        self._first_ns = 0

    def saw_first(self) -> None:
        self._first_ns = time.perf_counter_ns()

    def timings(self, meta: Meta) -> pb.Timings:
        ended_ns = time.perf_counter_ns()
        queue_ns = round(meta.get("queue_time", 0.0) * _NS_PER_SECOND)
        begun, prefilled = meta.get("forward_entry_time", 0.0), meta.get("prefill_finished_time", 0.0)
        first_ns = self._first_ns or ended_ns
        prefill_ns = (
            round((prefilled - begun) * _NS_PER_SECOND) if begun and prefilled else first_ns - self._began_ns
        )
        return pb.Timings(
            queue_ns=max(1, queue_ns), prefill_ns=max(1, prefill_ns), decode_ns=max(1, ended_ns - first_ns)
        )


def _add(timings: pb.Timings, more: pb.Timings) -> None:
    timings.queue_ns += more.queue_ns
    timings.load_ns += more.load_ns
    timings.prefill_ns += more.prefill_ns
    timings.decode_ns += more.decode_ns


def _without_end(ids: list[int], finish: Finish | None) -> list[int]:
    """The end-of-sequence token is counted, but not part of the answer."""
    matched = finish.get("matched") if finish else None
    return ids[:-1] if isinstance(matched, int) and ids and ids[-1] == matched else ids


def _done(finish: Finish) -> pb.Done:
    done = pb.Done(finish_reason=pb.Done.LENGTH if finish["type"] == "length" else pb.Done.STOP)
    match finish.get("matched"):
        case str() as text:
            done.matched_stop = text
        case int() as token:
            done.matched_token = token
    return done


def _delta(part: CallPart) -> pb.ToolCallDelta:
    return pb.ToolCallDelta(
        index=part.index,
        id=part.id,
        name=part.name,
        arguments_fragment=part.arguments,
        complete=part.complete,
    )


def _error(finish: Finish) -> DroverError:
    """An abort as what the caller can do about it."""
    message = finish.get("message", "aborted")
    match finish.get("status_code"):
        case 400 if "grammar" in message.lower():
            return ConstraintRejected(message)
        case 400 if any(word in message for word in ("longer", "length", "exceed")):
            return ContextExceeded(message)
        case 400:
            return InvalidRequest(message)
        case 503:
            return QueueFull()
        case None:
            return ClientLeft(message)
        case _:
            return EngineFailed(f"SGLang gave the request up: {message}")
