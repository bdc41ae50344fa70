"""What an engine has produced for one request and its stream has not taken yet.

Putting never waits and taking never delays: a token goes out at once when the stream is idle, and what piles
up while a write is in flight leaves together as one message, since messages cost and tokens hardly do; beyond
a size that frontends take it leaves as several. What can pile up is bounded by the request's own token limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb

# With 20 alternatives to each, some 3 MB; frontends take 16 (drover/rpc.py).
_MOST_TOKENS_OF_AN_EVENT = 4096


class Mailbox:
    def __init__(self) -> None:
        self._pending: deque[pb.GenerateEvent] = deque()
        self._tokens_of_last = 0
        self._error: DroverError | None = None
        self._taker: asyncio.Future[None] | None = None

    def started(self, started: pb.Started) -> None:
        self._event().started.CopyFrom(started)
        self._wake()

    def content(
        self,
        text: str,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """Text of the answer and the tokens behind it; either may be empty."""
        last = self._last_delta()
        if last.thinking or last.tool_calls:
            last = self._event().deltas.add()
        last.content += text
        self._account(last, token_ids, completion_tokens, logprobs)

    def thinking(
        self,
        text: str,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """Text of the model's reasoning and the tokens behind it."""
        last = self._last_delta()
        if last.content or last.tool_calls:
            last = self._event().deltas.add()
        last.thinking += text
        self._account(last, token_ids, completion_tokens, logprobs)

    def tool_call(
        self,
        call: pb.ToolCallDelta,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob] = (),
    ) -> None:
        """A piece of a tool call and the tokens behind it."""
        last = self._last_delta()
        if last.content or last.thinking:
            last = self._event().deltas.add()
        last.tool_calls.append(call)
        self._account(last, token_ids, completion_tokens, logprobs)

    def done(self, done: pb.Done) -> None:
        self._event().done.CopyFrom(done)
        self._wake()

    def fail(self, error: DroverError) -> None:
        """Ends the stream with `error`, after what was put before it."""
        self._error = error
        self._wake()

    @property
    def ready(self) -> bool:
        """Whether `take` would return at once."""
        return bool(self._pending) or self._error is not None

    async def take(self) -> pb.GenerateEvent:
        """Everything that is ready and fits into an event, waiting for something if nothing is. One taker at
        a time.
        """
        if not self.ready:
            self._taker = asyncio.get_running_loop().create_future()
            try:
                await self._taker
            finally:
                self._taker = None
        if self._pending:
            return self._pending.popleft()
        assert self._error is not None
        raise self._error

    def _event(self) -> pb.GenerateEvent:
        if not self._pending or self._tokens_of_last >= _MOST_TOKENS_OF_AN_EVENT:
            self._pending.append(pb.GenerateEvent())
            self._tokens_of_last = 0
        return self._pending[-1]

    def _last_delta(self) -> pb.Delta:
        """Consecutive deltas of one kind are joined."""
        deltas = self._event().deltas
        return deltas[-1] if deltas else deltas.add()

    def _account(
        self,
        delta: pb.Delta,
        token_ids: Sequence[int],
        completion_tokens: int,
        logprobs: Sequence[pb.TokenLogprob],
    ) -> None:
        self._tokens_of_last += len(token_ids)
        delta.token_ids.extend(token_ids)
        delta.completion_tokens = completion_tokens
        if logprobs:
            delta.logprobs.extend(logprobs)
        self._wake()

    def _wake(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)
