"""What a worker may send for one request, in which order and how much, by protos/drover/v1/engine.proto.

A worker of another version, with a defect or of an intruder must neither fill the frontend's memory nor reach
code that trusts the order of events.
"""

from __future__ import annotations

from drover.errors import ProtocolBroken
from drover.v1 import engine_pb2 as pb

# What an event costs in addition to its content, so that empty ones are bounded too.
_OF_AN_EVENT = 64
_BASE_BYTES = 4 * 1024 * 1024
_OF_A_TOKEN = 256
_OF_A_LOGPROB = 96
# Where neither the request nor the model says how long an answer may become.
_MOST_TOKENS = 1_000_000
_MOST_CALLS = 4096
_FINISH_REASONS = frozenset(pb.Done.FinishReason.values())


class AnswerCheck:
    """Sees each event of one attempt before anything else does. `calls`: that the client has had already, of
    earlier attempts.
    """

    __slots__ = ("_bytes", "_calls", "_has_started", "_most_bytes", "is_done")

    def __init__(self, request: pb.GenerateRequest, context_length: int, calls: int) -> None:
        self._most_bytes = most_bytes(request, context_length)
        self._calls = calls
        self._bytes = 0
        self._has_started = False
        self.is_done = False

    def saw(self, event: pb.GenerateEvent) -> None:
        """Raises ProtocolBroken."""
        if self.is_done:
            raise broken("an event came after the last one")
        # Held, since each look at it would make it anew.
        deltas = event.deltas
        self._count(event.ByteSize())
        if event.HasField("started"):
            if self._has_started:
                raise broken("the answer started twice")
            self._has_started = True
        for delta in deltas:
            if delta.tool_calls:
                for call in delta.tool_calls:
                    self._saw_call(call.index)
        if event.HasField("done"):
            if event.done.finish_reason not in _FINISH_REASONS:
                raise broken(f"{event.done.finish_reason} is no finish reason")
            self.is_done = True

    def saw_token(self, text: str) -> None:
        """One token with its text, after the beginning. Raises ProtocolBroken."""
        if self.is_done:
            raise broken("an event came after the last one")
        self._count(len(text))

    def ended(self) -> None:
        """Without an error. Raises ProtocolBroken."""
        if not self.is_done:
            raise broken("the answer ended without its last event")

    def _count(self, size: int) -> None:
        self._bytes += size + _OF_AN_EVENT
        if self._bytes > self._most_bytes:
            raise broken(f"an answer of more than {self._most_bytes} bytes", is_flood=True)

    def _saw_call(self, index: int) -> None:
        if index > self._calls or index >= _MOST_CALLS:
            raise broken(f"tool call {index} came after {self._calls} calls")
        self._calls = max(self._calls, index + 1)


def most_bytes(request: pb.GenerateRequest, context_length: int) -> int:
    """Of the events of one attempt: prompt and answer fit into the context window, at most."""
    tokens = context_length or _MOST_TOKENS
    of_a_token = _OF_A_TOKEN
    if request.HasField("top_logprobs"):
        of_a_token += _OF_A_LOGPROB * (request.top_logprobs + 1)
    return _BASE_BYTES + tokens * of_a_token


def broken(reason: str, is_flood: bool = False) -> ProtocolBroken:
    return ProtocolBroken(f"the worker broke the protocol: {reason}", is_flood)
