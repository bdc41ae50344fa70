"""The mailbox: what an engine has produced for one request and its stream has not taken yet.

Putting never waits, and taking never delays: a token is sent at once if the stream is idle. What accumulates
while a write is in flight is sent together, as one event or, beyond a size that frontends accept, as several.
A few tokens stay separate, so that clients get each in a line of its own; if more accumulate, the stream is
too slow for that, and they are joined. The request's own token limit bounds what can accumulate.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import NamedTuple

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb

# About 100 KB, with log probabilities too: the events that a request has credit for fit into the buffer that
# a frontend has for a client that does not read (frontend/routing/backends/grpc/exchange.py).
_MAX_TOKENS_PER_EVENT = 4096
# The size of an entry with 20 alternatives, in tokens.
_TOKENS_PER_LOGPROB = 32
_MAX_SEPARATE = 8


class _Kind(Enum):
    CONTENT = auto()
    THINKING = auto()
    TOOL_CALLS = auto()


class _Joined(NamedTuple):
    """Copies of what was put: callers' lists are not changed."""

    texts: list[str]
    calls: list[pb.ToolCallDelta]
    ids: list[int]
    logprobs: list[pb.TokenLogprob]


class _Run:
    """One piece of output as it was put, or consecutive pieces of one kind, joined."""

    __slots__ = ("calls", "completion_tokens", "ids", "joined", "kind", "logprobs", "text")

    def __init__(
        self,
        kind: _Kind,
        text: str,
        calls: Sequence[pb.ToolCallDelta],
        ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob],
    ) -> None:
        self.kind = kind
        self.text = text
        self.calls = calls
        self.ids = ids
        self.completion_tokens = completion_tokens
        self.logprobs = logprobs
        self.joined: _Joined | None = None

    @property
    def weight(self) -> int:
        """Size in tokens."""
        return len(self.ids) + _TOKENS_PER_LOGPROB * len(self.logprobs)

    def join(
        self,
        text: str,
        calls: Sequence[pb.ToolCallDelta],
        ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob],
    ) -> None:
        joined = self.joined
        if joined is None:
            joined = self.joined = _Joined([self.text], list(self.calls), list(self.ids), list(self.logprobs))
            _, self.calls, self.ids, self.logprobs = joined
        joined.texts.append(text)
        joined.ids.extend(ids)
        if calls:
            joined.calls.extend(calls)
        if logprobs:
            joined.logprobs.extend(logprobs)
        self.completion_tokens = completion_tokens

    def into(self, event: pb.GenerateEvent) -> None:
        text = self.text if self.joined is None else "".join(self.joined.texts)
        # Fields that are set one by one cost half of what a message with arguments does, and one id that is
        # appended a third of a list.
        delta = event.deltas.add()
        if self.kind is _Kind.CONTENT:
            delta.content = text
        else:
            delta.thinking = text
            delta.tool_calls.extend(self.calls)
        delta.completion_tokens = self.completion_tokens
        if len(self.ids) == 1:
            delta.token_ids.append(self.ids[0])
        else:
            delta.token_ids.extend(self.ids)
        if self.logprobs:
            delta.logprobs.extend(self.logprobs)


class Mailbox:
    """The mailbox of one request.

    `notify` is called whenever something was put. `not_honoured` is added to the engine's names in `started`,
    `load_ns` to the timings in `done`. A text of `shown_stops` that ends the answer is put as its last text.
    `first_ns` is the time of `started` (time.perf_counter_ns). Output that is put while `max_separate` pieces
    wait is joined with the newest one.
    """

    __slots__ = (
        "_done",
        "_error",
        "_is_over",
        "_kind_of_text",
        "_max_separate",
        "_over",
        "_runs",
        "_started",
        "done_message",
        "first_ns",
        "load_ns",
        "not_honoured",
        "notify",
        "shown_stops",
        "started_message",
    )

    def __init__(self, max_separate: int = _MAX_SEPARATE) -> None:
        self._max_separate = max_separate
        self._runs: deque[_Run] = deque()
        self._started: pb.Started | None = None
        self._done: pb.Done | None = None
        self._error: DroverError | None = None
        self._is_over = False
        # Of the newest text, which may have been taken already.
        self._kind_of_text = _Kind.CONTENT
        self._over: asyncio.Future[None] | None = None
        self.notify: Callable[[], None] | None = None
        self.not_honoured: Sequence[str] = ()
        self.shown_stops: Sequence[str] = ()
        self.load_ns = 0
        self.first_ns = 0
        self.started_message: pb.Started | None = None
        self.done_message: pb.Done | None = None

    def started(self, started: pb.Started) -> None:
        """Put the start of the answer. It may be put again with more fields until it is taken."""
        begins = pb.Started()
        begins.CopyFrom(started)
        begins.not_honoured.extend(self.not_honoured)
        self._started = self.started_message = begins
        self.first_ns = self.first_ns or time.perf_counter_ns()
        self._wake()

    def content(
        self,
        text: str,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """Put text of the answer and its tokens; either may be empty. Do not change them afterwards."""
        self._put(_Kind.CONTENT, text, (), token_ids, completion_tokens, logprobs)

    def thinking(
        self,
        text: str,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """Put text of the model's reasoning and its tokens."""
        self._put(_Kind.THINKING, text, (), token_ids, completion_tokens, logprobs)

    def tool_call(
        self,
        call: pb.ToolCallDelta,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """Put a piece of a tool call and its tokens."""
        self._put(_Kind.TOOL_CALLS, "", (call,), token_ids, completion_tokens, logprobs)

    def done(self, done: pb.Done) -> None:
        """Put the end of the answer."""
        if done.matched_stop in self.shown_stops:
            self._put(self._kind_of_text, done.matched_stop, (), (), done.completion_tokens, ())
        ends = pb.Done()
        ends.CopyFrom(done)
        ends.timings.load_ns += self.load_ns
        self._done = self.done_message = ends
        self._wake()

    def put(self, event: pb.GenerateEvent) -> None:
        """Put the parts of an event."""
        if event.HasField("started"):
            self.started(event.started)
        for delta in event.deltas:
            more = (delta.token_ids, delta.completion_tokens, delta.logprobs)
            if delta.tool_calls:
                for number, call in enumerate(delta.tool_calls):
                    self.tool_call(call, *(more if not number else ((), delta.completion_tokens)))
            elif delta.thinking:
                self.thinking(delta.thinking, *more)
            else:
                self.content(delta.content, *more)
        if event.HasField("done"):
            self.done(event.done)

    def fail(self, error: DroverError) -> None:
        """End the answer with `error`, after what was put before. Ignored after its end."""
        if self.done_message is None and self._error is None:
            self._error = error
            self._wake()

    @property
    def ready(self) -> bool:
        """True if `take` would return at once."""
        return bool(self._runs or self._started or self._done or self._error)

    def has(self, tokens: int) -> bool:
        """True if so many tokens, or the end, can be taken."""
        return bool(self._done or self._error) or sum(run.weight for run in self._runs) >= tokens

    @property
    def failure(self) -> DroverError | None:
        """The error, if it is all that is left to take."""
        return None if self._runs or self._started else self._error

    @property
    def is_over(self) -> bool:
        """True if the end, or the error, was taken."""
        return self._is_over

    async def wait_over(self) -> None:
        """Wait until the end, or the error, was taken."""
        if not self._is_over:
            self._over = asyncio.get_running_loop().create_future()
            await self._over

    async def take(self) -> pb.GenerateEvent:
        """Wait until something is ready, and take as much as fits into an event. One taker at a time."""
        if not self.ready:
            is_ready = asyncio.Event()
            self.notify = is_ready.set
            try:
                await is_ready.wait()
            finally:
                self.notify = None
        if (error := self.failure) is not None:
            self._ends()
            raise error
        event = pb.GenerateEvent()
        self.fill(event)
        return event

    def take_token(self) -> tuple[str, int, int] | None:
        """Take text, id and token count if exactly one plain token is ready, else return None."""
        runs = self._runs
        if len(runs) != 1 or self._started is not None or self._done is not None:
            return None
        run = runs[0]
        is_plain = run.kind is _Kind.CONTENT and run.joined is None and not run.logprobs
        if not is_plain or len(run.ids) != 1 or not run.text:
            return None
        runs.clear()
        return run.text, run.ids[0], run.completion_tokens

    def fill(self, event: pb.GenerateEvent) -> int:
        """Take what is ready and fits into an event; return its size in tokens. Errors are not taken."""
        tokens = 0
        if self._started is not None:
            tokens = len(self._started.prompt_ids)
            event.started.CopyFrom(self._started)
            self._started = None
        runs, most = self._runs, tokens + _MAX_TOKENS_PER_EVENT
        while runs and tokens < most:
            run = runs.popleft()
            tokens += run.weight
            run.into(event)
        if self._done is not None and not runs:
            event.done.CopyFrom(self._done)
            self._done = None
            self._ends()
        return tokens

    def mark_failure_taken(self) -> None:
        """Count the error, which stays in `failure`, as taken."""
        self._ends()

    def _put(
        self,
        kind: _Kind,
        text: str,
        calls: Sequence[pb.ToolCallDelta],
        ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob],
    ) -> None:
        if text:
            self._kind_of_text = kind
        runs = self._runs
        newest = runs[-1] if runs and len(runs) >= self._max_separate else None
        if newest is not None and newest.kind is kind and newest.weight < _MAX_TOKENS_PER_EVENT:
            newest.join(text, calls, ids, completion_tokens, logprobs)
        else:
            runs.append(_Run(kind, text, calls, ids, completion_tokens, logprobs))
        if self.notify is not None:
            self.notify()

    def _ends(self) -> None:
        self._is_over = True
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _wake(self) -> None:
        if self.notify is not None:
            self.notify()
