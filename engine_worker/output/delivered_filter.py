"""What a client has had of an answer that goes on here (proto: Continuation)."""

from __future__ import annotations

from dataclasses import replace

from drover.v1 import engine_pb2 as pb
from engine_worker.output.base import CallPart, Content, Piece, Thinking
from engine_worker.output.tool_calls import new_call_id


class DeliveredFilter:
    """Every piece of the replayed answer goes through `unheard`, in order, and those of the new one too."""

    def __init__(self, continuation: pb.Continuation) -> None:
        self._content = continuation.content_characters_sent
        self._thinking = continuation.thinking_characters_sent
        self._arguments = list(continuation.tool_call_argument_characters_sent)
        self._call_ids = list(continuation.tool_call_ids_sent)

    def call_id(self, number: int) -> str:
        """A call that the client has heard of keeps its id."""
        return self._call_ids[number] if number < len(self._call_ids) else new_call_id(number)

    def new_part(self, piece: Piece) -> Piece | None:
        """What is new of it; None when nothing."""
        match piece:
            case Content(text):
                had = min(self._content, len(text))
                self._content -= had
                return Content(text[had:]) if had < len(text) else None
            case Thinking(text):
                had = min(self._thinking, len(text))
                self._thinking -= had
                return Thinking(text[had:]) if had < len(text) else None
            case CallPart():
                return self._unheard_call(piece)

    def _unheard_call(self, part: CallPart) -> CallPart | None:
        """A call is said to be complete together with the last characters of its arguments."""
        if part.index >= len(self._call_ids):
            return part
        had = 0
        if part.index < len(self._arguments):
            had = min(self._arguments[part.index], len(part.arguments))
            self._arguments[part.index] -= had
        rest = part.arguments[had:]
        return replace(part, id="", name="", arguments=rest) if rest else None
