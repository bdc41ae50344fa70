"""Validates what a worker sends for one request: order and amount, by protos/drover/v1/engine.proto.

A worker of another version, a defective or a malicious one must neither fill the frontend's memory nor reach
code that relies on the order of events.
"""

from __future__ import annotations

from drover.errors import ProtocolBroken
from drover.v1 import engine_pb2 as pb

# Counted for each event in addition to its content, so that empty ones are bounded too.
_BYTES_PER_EVENT = 64
_BASE_BYTES = 4 * 1024 * 1024
_BYTES_PER_TOKEN = 256
_BYTES_PER_LOGPROB = 96
# For models of unknown context length.
_MAX_TOKENS = 1_000_000
_MAX_CALLS = 4096
_FINISH_REASONS = frozenset(pb.Done.FinishReason.values())


class EventCheck:
    """Checks each event of one attempt, before anything else is given it. `calls`: number of tool calls that
    the client already has from earlier attempts.
    """

    __slots__ = ("_bytes", "_calls", "_has_started", "_max_bytes", "is_done")

    def __init__(self, request: pb.GenerateRequest, context_length: int, calls: int) -> None:
        self._max_bytes = max_bytes(request, context_length)
        self._calls = calls
        self._bytes = 0
        self._has_started = False
        self.is_done = False

    def check(self, event: pb.GenerateEvent) -> None:
        """Raises ProtocolBroken."""
        if self.is_done:
            raise broken("an event came after done")
        # Kept in a variable: each access to the field builds its wrapper anew.
        deltas = event.deltas
        self._count(event.ByteSize())
        if event.HasField("started"):
            if self._has_started:
                raise broken("the response started twice")
            self._has_started = True
        for delta in deltas:
            if delta.tool_calls:
                for call in delta.tool_calls:
                    self._check_call(call.index)
        if event.HasField("done"):
            if event.done.finish_reason not in _FINISH_REASONS:
                raise broken(f"{event.done.finish_reason} is no finish reason")
            self.is_done = True

    def check_token(self, text: str) -> None:
        """Check one token with its text, which comes after `started`. Raises ProtocolBroken."""
        if self.is_done:
            raise broken("an event came after done")
        self._count(len(text))

    def check_complete(self) -> None:
        """Call at the end of a stream without an error. Raises ProtocolBroken."""
        if not self.is_done:
            raise broken("the stream ended without a done message")

    def _count(self, size: int) -> None:
        self._bytes += size + _BYTES_PER_EVENT
        if self._bytes > self._max_bytes:
            raise broken(f"a response of more than {self._max_bytes} bytes", is_flood=True)

    def _check_call(self, index: int) -> None:
        if index > self._calls or index >= _MAX_CALLS:
            raise broken(f"tool call {index} came after {self._calls} calls")
        self._calls = max(self._calls, index + 1)


def max_bytes(request: pb.GenerateRequest, context_length: int) -> int:
    """Limit for the events of one attempt: prompt and output fit into the context window."""
    tokens = context_length or _MAX_TOKENS
    per_token = _BYTES_PER_TOKEN
    if request.HasField("top_logprobs"):
        per_token += _BYTES_PER_LOGPROB * (request.top_logprobs + 1)
    return _BASE_BYTES + tokens * per_token


def broken(reason: str, is_flood: bool = False) -> ProtocolBroken:
    return ProtocolBroken(f"the worker broke the protocol: {reason}", is_flood)
