"""Regenerated responses: compared with what the client already has, which is removed from them."""

from __future__ import annotations

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from frontend.routing.journal import Journal


class DeliveredText:
    """The texts that the client has so far, kept for a request that can only resume by regenerating."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._arguments: dict[int, list[str]] = {}
        self.names: dict[int, str] = {}

    def record(self, event: pb.GenerateEvent) -> None:
        for delta in event.deltas:
            self._content.append(delta.content)
            self._thinking.append(delta.thinking)
            for call in delta.tool_calls:
                self.names.setdefault(call.index, call.name)
                self._arguments.setdefault(call.index, []).append(call.arguments_fragment)

    @property
    def content(self) -> str:
        return "".join(self._content)

    @property
    def thinking(self) -> str:
        return "".join(self._thinking)

    @property
    def arguments(self) -> dict[int, str]:
        """Arguments of each tool call, by its index."""
        return {index: "".join(pieces) for index, pieces in self._arguments.items()}


class ReplayFilter:
    """Drops the prefix that the client already received from a regenerated stream.

    Raises EngineFailed where the streams differ: the second half of another response must not follow the
    first half of this one.
    """

    def __init__(self, delivered: DeliveredText, journal: Journal) -> None:
        self._content = delivered.content
        self._thinking = delivered.thinking
        self._arguments = dict(delivered.arguments)
        self._names = dict(delivered.names)
        self._tokens = len(journal.produced_ids)
        self._logprobs = journal.logprobs

    def strip_delivered(self, event: pb.GenerateEvent) -> pb.GenerateEvent:
        """What is new in the event, perhaps nothing."""
        new = pb.GenerateEvent()
        for delta in event.deltas:
            self._strip_delta(delta, new)
        if event.HasField("done"):
            if self._content or self._thinking or any(self._arguments.values()):
                raise _differs()
            new.done.CopyFrom(event.done)
        return new

    def _strip_delta(self, delta: pb.Delta, event: pb.GenerateEvent) -> None:
        new = pb.Delta(completion_tokens=delta.completion_tokens)
        self._content, new.content = _split(self._content, delta.content)
        self._thinking, new.thinking = _split(self._thinking, delta.thinking)
        for call in delta.tool_calls:
            self._strip_call(call, new)
        skipped = min(self._tokens, len(delta.token_ids))
        self._tokens -= skipped
        new.token_ids.extend(delta.token_ids[skipped:])
        skipped = min(self._logprobs, len(delta.logprobs))
        self._logprobs -= skipped
        new.logprobs.extend(delta.logprobs[skipped:])
        if new.content or new.thinking or new.tool_calls or new.token_ids or new.logprobs:
            event.deltas.append(new)

    def _strip_call(self, call: pb.ToolCallDelta, new: pb.Delta) -> None:
        if call.index not in self._arguments:
            new.tool_calls.append(call)
            return
        if call.name and call.name != self._names[call.index]:
            raise _differs()
        expected = self._arguments[call.index]
        self._arguments[call.index], fragment = _split(expected, call.arguments_fragment)
        if fragment:
            new.tool_calls.add(index=call.index, arguments_fragment=fragment, complete=call.complete)


def _split(expected: str, text: str) -> tuple[str, str]:
    """Match `text` with the delivered text. Returns what is expected after it, and what of it is new."""
    common = min(len(expected), len(text))
    if expected[:common] != text[:common]:
        raise _differs()
    return expected[common:], text[common:]


def _differs() -> EngineFailed:
    return EngineFailed("the worker was lost, and another one answers differently")
