"""An answer that is generated again: what its client has had is compared and left out."""

from __future__ import annotations

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from frontend.routing.journal import Journal


class DeliveredText:
    """The texts that the client has had, for answers that can only go on by being made again."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._thinking: list[str] = []
        self._arguments: dict[int, list[str]] = {}
        self.names: dict[int, str] = {}

    def saw(self, event: pb.GenerateEvent) -> None:
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
        return {index: "".join(pieces) for index, pieces in self._arguments.items()}


class ReplayFilter:
    """Takes what was told from the beginning of another telling. Raises EngineFailed where they differ."""

    def __init__(self, told: DeliveredText, journal: Journal) -> None:
        self._content = told.content
        self._thinking = told.thinking
        self._arguments = dict(told.arguments)
        self._names = dict(told.names)
        self._tokens = len(journal.produced_ids)
        self._logprobs = journal.logprobs

    def rest(self, event: pb.GenerateEvent) -> pb.GenerateEvent:
        """What is new of the event, perhaps nothing."""
        rest = pb.GenerateEvent()
        for delta in event.deltas:
            self._add_rest(delta, rest)
        if event.HasField("done"):
            if self._content or self._thinking or any(self._arguments.values()):
                raise _differs()
            rest.done.CopyFrom(event.done)
        return rest

    def _add_rest(self, delta: pb.Delta, rest: pb.GenerateEvent) -> None:
        new = pb.Delta(completion_tokens=delta.completion_tokens)
        self._content, new.content = _split(self._content, delta.content)
        self._thinking, new.thinking = _split(self._thinking, delta.thinking)
        for call in delta.tool_calls:
            self._add_call(call, new)
        skipped = min(self._tokens, len(delta.token_ids))
        self._tokens -= skipped
        new.token_ids.extend(delta.token_ids[skipped:])
        skipped = min(self._logprobs, len(delta.logprobs))
        self._logprobs -= skipped
        new.logprobs.extend(delta.logprobs[skipped:])
        if new.content or new.thinking or new.tool_calls or new.token_ids or new.logprobs:
            rest.deltas.append(new)

    def _add_call(self, call: pb.ToolCallDelta, new: pb.Delta) -> None:
        if call.index not in self._arguments:
            new.tool_calls.append(call)
            return
        if call.name and call.name != self._names[call.index]:
            raise _differs()
        had = self._arguments[call.index]
        self._arguments[call.index], fragment = _split(had, call.arguments_fragment)
        if fragment:
            new.tool_calls.add(index=call.index, arguments_fragment=fragment, complete=call.complete)


def _split(had: str, said: str) -> tuple[str, str]:
    """What of it is still to be said again, and what is new."""
    common = min(len(had), len(said))
    if had[:common] != said[:common]:
        raise _differs()
    return had[common:], said[common:]


def _differs() -> EngineFailed:
    return EngineFailed("the worker was lost, and another one answers differently")
