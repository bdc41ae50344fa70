"""What an engine has produced for one request and its stream has not taken yet.

Putting never waits and taking never delays: a token goes out at once when the stream is idle, and what piles
up while a write is in flight leaves together as one event; beyond a size that frontends take it leaves as
several. A few tokens stay apart, so that each is a line of its own to clients; where more pile up the stream
is too slow for that, and they are joined. What can pile up is bounded by the request's own token limit.
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

# Some 100 KB, with log probabilities too: as many as a request has credit for fit into what a frontend keeps
# of one whose client does not read (frontend/routing/backends/grpc/exchange.py).
_MOST_TOKENS_OF_AN_EVENT = 4096
# What an entry with 20 alternatives costs, in tokens.
_TOKENS_OF_A_LOGPROB = 32
_MOST_APART = 8


class _Kind(Enum):
    CONTENT = auto()
    THINKING = auto()
    TOOL_CALLS = auto()


class _Joined(NamedTuple):
    """Lists of its own: those that were put are not changed."""

    texts: list[str]
    calls: list[pb.ToolCallDelta]
    ids: list[int]
    logprobs: list[pb.TokenLogprob]


class _Run:
    """What was put at once, kept as it was put, or consecutive output of one kind that is joined."""

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
        """In tokens."""
        return len(self.ids) + _TOKENS_OF_A_LOGPROB * len(self.logprobs)

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
    """`notify` is called whenever something was put; `not_honoured`: names that the answer's beginning has in
    addition to the engine's own; `load_ns`: what its end has in addition; `first_ns`: when it began, of
    time.perf_counter_ns. `most_apart`: what is put while so much waits is joined.
    """

    __slots__ = (
        "_done",
        "_error",
        "_is_over",
        "_most_apart",
        "_over",
        "_runs",
        "_started",
        "done_message",
        "first_ns",
        "load_ns",
        "not_honoured",
        "notify",
        "started_message",
    )

    def __init__(self, most_apart: int = _MOST_APART) -> None:
        self._most_apart = most_apart
        self._runs: deque[_Run] = deque()
        self._started: pb.Started | None = None
        self._done: pb.Done | None = None
        self._error: DroverError | None = None
        self._is_over = False
        self._over: asyncio.Future[None] | None = None
        self.notify: Callable[[], None] | None = None
        self.not_honoured: Sequence[str] = ()
        self.load_ns = 0
        self.first_ns = 0
        self.started_message: pb.Started | None = None
        self.done_message: pb.Done | None = None

    def started(self, started: pb.Started) -> None:
        """Again with more, as long as it has not been taken."""
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
        """Text of the answer and the tokens behind it; either may be empty. What is put is
        not to be changed afterwards.
        """
        self._put(_Kind.CONTENT, text, (), token_ids, completion_tokens, logprobs)

    def thinking(
        self,
        text: str,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """Text of the model's reasoning and the tokens behind it."""
        self._put(_Kind.THINKING, text, (), token_ids, completion_tokens, logprobs)

    def tool_call(
        self,
        call: pb.ToolCallDelta,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """A piece of a tool call and the tokens behind it."""
        self._put(_Kind.TOOL_CALLS, "", (call,), token_ids, completion_tokens, logprobs)

    def done(self, done: pb.Done) -> None:
        """The end of the answer, after what was put before it."""
        ends = pb.Done()
        ends.CopyFrom(done)
        ends.timings.load_ns += self.load_ns
        self._done = self.done_message = ends
        self._wake()

    def put(self, event: pb.GenerateEvent) -> None:
        """All that an event has."""
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
        """Ends the answer with `error`, after what was put before it. After its end nothing can fail."""
        if self.done_message is None and self._error is None:
            self._error = error
            self._wake()

    @property
    def ready(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._runs or self._started or self._done or self._error)

    def has(self, tokens: int) -> bool:
        """Whether so many wait, or the end does."""
        return bool(self._done or self._error) or sum(run.weight for run in self._runs) >= tokens

    @property
    def failure(self) -> DroverError | None:
        """What is left, where nothing but an error is."""
        return None if self._runs or self._started else self._error

    @property
    def is_over(self) -> bool:
        """The end, or the error, was taken."""
        return self._is_over

    async def wait_over(self) -> None:
        """Until the end, or the error, was taken."""
        if not self._is_over:
            self._over = asyncio.get_running_loop().create_future()
            await self._over

    async def take(self) -> pb.GenerateEvent:
        """Everything that is ready and fits into an event, waiting for something if nothing is. One taker at
        a time.
        """
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
        """Text, id and count of tokens, where what is ready is one token with its text and nothing else."""
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
        """What is ready and fits into an event, and how many tokens it weighs. An error does not."""
        tokens = 0
        if self._started is not None:
            tokens = len(self._started.prompt_ids)
            event.started.CopyFrom(self._started)
            self._started = None
        runs, most = self._runs, tokens + _MOST_TOKENS_OF_AN_EVENT
        while runs and tokens < most:
            run = runs.popleft()
            tokens += run.weight
            run.into(event)
        if self._done is not None and not runs:
            event.done.CopyFrom(self._done)
            self._done = None
            self._ends()
        return tokens

    def gave_failure(self) -> None:
        """The error was taken as `failure`, where it stays."""
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
        runs = self._runs
        newest = runs[-1] if runs and len(runs) >= self._most_apart else None
        if newest is not None and newest.kind is kind and newest.weight < _MOST_TOKENS_OF_AN_EVENT:
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
