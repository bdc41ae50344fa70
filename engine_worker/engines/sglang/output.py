"""Turn SGLang's chunks of one answer into events.

What is new in a chunk passes through these stages, in this order:

    text source       its text: SGLang's own, or decoded from the ids (text.py)
    stop matcher      holds back what may become a stop text, and ends the answer at one
    parser            content, thinking and tool calls; holds back what may become markup
    delivered filter  drops what the client received from an earlier attempt
    mailbox           with the ids and log probabilities of the tokens

An answer that needs none of the three in the middle goes from the text source straight to the mailbox.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from engine_worker.engines.sglang.text import Logprobs, TextSource
from engine_worker.engines.sglang.upstream.calls import Chunk, Finish, Meta
from engine_worker.output.base import CallPart, Content, OutputParser, Piece, PlainText, Thinking
from engine_worker.output.delivered_filter import DeliveredFilter
from engine_worker.output.mailbox import Mailbox
from engine_worker.output.stop_matcher import StopMatcher

_NS_PER_SECOND = 1_000_000_000


@dataclass(slots=True)
class OutputContext:
    """The stages of one answer, and what its events report besides.

    `stops` looks for the stop texts that SGLang does not look for. `logprobs` is None where the request does
    not ask for them. Of a resumed answer, `earlier` is what was produced before this attempt and `replayed`
    its text.
    """

    started: pb.Started
    text: TextSource
    parser: OutputParser
    stops: StopMatcher = field(default_factory=lambda: StopMatcher(()))
    delivered: DeliveredFilter | None = None
    logprobs: Logprobs | None = None
    earlier: pb.Continuation | None = None
    replayed: str = ""


class Output:
    """One answer: feed it the chunks in order, and it fills the mailbox."""

    def __init__(self, context: OutputContext, mailbox: Mailbox) -> None:
        self._text = context.text
        self._stops = context.stops
        self._parser = context.parser
        self._delivered = context.delivered
        self._mailbox = mailbox
        self._started = context.started
        self._logprobs_of = context.logprobs
        self._earlier = context.earlier
        self._replayed = context.replayed
        self._clock = _Clock()
        # Of tokens whose text has not reached the mailbox yet.
        self._ids: list[int] = []
        self._logprobs: list[pb.TokenLogprob] = []
        self._earlier_tokens = len(context.earlier.produced_ids) if context.earlier else 0
        self._tokens = self._earlier_tokens
        self._reasoning_tokens = 0
        self._is_plain = (
            isinstance(context.parser, PlainText)
            and context.stops.is_idle
            and context.logprobs is None
            and context.delivered is None
        )
        self.has_begun = False
        self.finished = False
        self.done = pb.Done()

    @property
    def new_tokens(self) -> int:
        """Tokens produced so far, without those of earlier attempts."""
        return self._tokens - self._earlier_tokens

    def begin(self) -> None:
        """Start a resumed answer: replay the earlier text through the stages. The client knows its ids."""
        if self._earlier is not None:
            self._mailbox.started(self._started)
        if not self._replayed:
            return
        self._deliver(self._parser.feed(self._stops.feed(self._replayed)))
        if self._stops.matched is not None:
            self._finish(pb.Done(finish_reason=pb.Done.STOP, matched_stop=self._stops.matched), {})

    def exhausted(self) -> None:
        """Finish a resumed answer whose earlier tokens reach its token limit."""
        if not self.finished:
            self._finish(pb.Done(finish_reason=pb.Done.LENGTH), {})

    def feed(self, chunk: Chunk) -> bool:
        """Process a chunk; True if the answer is over. Raises a DroverError if SGLang aborted the request."""
        meta = chunk["meta_info"]
        finish = meta.get("finish_reason")
        if finish is not None and finish["type"] == "abort":
            raise _error(finish)
        if not self.has_begun:
            self._begin(meta)
        self._tokens = self._earlier_tokens + meta["completion_tokens"]
        ids = chunk["output_ids"]
        if finish is not None:
            ids = _without_end(ids, finish)
        text = self._text.of(chunk, ids)
        if not self._is_plain:
            self._run_stages(text, ids, meta)
        elif text:
            self._mailbox.content(text, [*self._ids, *ids] if self._ids else ids, self._tokens)
            self._ids = []
        else:
            self._ids += ids
        if finish is not None or self._stops.matched is not None:
            self._end(finish, meta)
        return self.finished

    def _begin(self, meta: Meta) -> None:
        """`started` is sent with the first tokens, since only then the number of cached tokens is known."""
        self.has_begun = True
        self._clock.saw_first()
        if self._earlier is None:
            self._started.cached_tokens = meta.get("cached_tokens", 0)
            self._mailbox.started(self._started)

    def _run_stages(self, text: str, ids: Sequence[int], meta: Meta) -> None:
        self._ids.extend(ids)
        if self._logprobs_of is not None:
            self._logprobs.extend(self._logprobs_of.of(meta)[: len(ids)])
        text = self._stops.feed(text)
        pieces = self._parser.feed(text)
        if text and not pieces:
            self._report_tokens_without_text()
        self._deliver(pieces)

    def _report_tokens_without_text(self) -> None:
        """Report the tokens of markup, and of held back text, at once. Markup has no log probabilities
        (recorded case "chat logprobs").
        """
        if not self._parser.holds:
            self._logprobs.clear()
        if self._ids:
            self._mailbox.content("", self._take_ids(), self._tokens)

    def _deliver(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            new = self._delivered.new_part(piece) if self._delivered else piece
            if new is not None:
                self._put(new)

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

    def _end(self, finish: Finish | None, meta: Meta) -> None:
        """A stop text that was matched here takes precedence over SGLang's finish reason."""
        if self._stops.matched is not None:
            self._finish(pb.Done(finish_reason=pb.Done.STOP, matched_stop=self._stops.matched), meta)
        elif finish is not None:
            self._finish(_done(finish), meta)

    def _finish(self, done: pb.Done, meta: Meta) -> None:
        """Let the stages give out what they hold, then put `done`."""
        if self._stops.matched is None:
            held = self._stops.feed(self._text.finish()) + self._stops.flush()
            self._deliver(self._parser.feed(held))
        self._deliver(self._parser.finish())
        if self._ids or self._logprobs:
            self._put(Content(""))
        self._put_done(done, meta)

    def _put_done(self, done: pb.Done, meta: Meta) -> None:
        earlier = self._earlier
        # SGLang counts the tokens of images, which the prompt's own ids do not contain.
        counted = 0 if earlier else meta.get("prompt_tokens", 0)
        done.prompt_tokens = counted or len(self._started.prompt_ids)
        done.cached_tokens = earlier.cached_tokens if earlier else meta.get("cached_tokens", 0)
        done.completion_tokens = self._tokens
        # SGLang counts reasoning tokens only where a grammar waits for the end of thinking.
        done.reasoning_tokens = max(meta.get("reasoning_tokens", 0), self._reasoning_tokens)
        done.timings.CopyFrom(self._clock.timings(meta))
        if earlier is not None:
            _add(done.timings, earlier.timings)
        self.finished, self.done = True, done
        self._mailbox.done(done)


class _Clock:
    """The times of queue, prefill and decode: SGLang's own, or else as measured here."""

    def __init__(self) -> None:
        self._began_ns = time.perf_counter_ns()
        self._first_ns = 0

    def saw_first(self) -> None:
        self._first_ns = time.perf_counter_ns()

    def timings(self, meta: Meta) -> pb.Timings:
        ended_ns = time.perf_counter_ns()
        queue_ns = round(meta.get("queue_time", 0.0) * _NS_PER_SECOND)
        began, prefilled = meta.get("forward_entry_time", 0.0), meta.get("prefill_finished_time", 0.0)
        first_ns = self._first_ns or ended_ns
        prefill_ns = (
            round((prefilled - began) * _NS_PER_SECOND) if began and prefilled else first_ns - self._began_ns
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
    """The ids without the end-of-sequence token, which is counted, but is not part of the answer."""
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
    """The error type of an abort, by its status code and message."""
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
            return EngineFailed(f"SGLang aborted the request: {message}")
