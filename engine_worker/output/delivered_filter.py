"""Drop what the client already received of a resumed answer (Continuation in engine.proto)."""

from __future__ import annotations

from dataclasses import replace

from drover.v1 import engine_pb2 as pb
from engine_worker.output.base import CallPart, Content, Piece, Thinking
from engine_worker.output.tool_calls import new_call_id


class DeliveredFilter:
    """All pieces of the replayed and of the new output go through `new_part`, in order."""

    def __init__(self, continuation: pb.Continuation) -> None:
        self._content = continuation.content_characters_sent
        self._thinking = continuation.thinking_characters_sent
        self._arguments = list(continuation.tool_call_argument_characters_sent)
        self._call_ids = list(continuation.tool_call_ids_sent)

    def call_id(self, number: int) -> str:
        """The id of a call: the delivered one, or a new one."""
        return self._call_ids[number] if number < len(self._call_ids) else new_call_id(number)

    def new_part(self, piece: Piece) -> Piece | None:
        """Return the part that was not delivered; None if all was."""
        match piece:
            case Content(text):
                delivered = min(self._content, len(text))
                self._content -= delivered
                return Content(text[delivered:]) if delivered < len(text) else None
            case Thinking(text):
                delivered = min(self._thinking, len(text))
                self._thinking -= delivered
                return Thinking(text[delivered:]) if delivered < len(text) else None
            case CallPart():
                return self._new_part_of_call(piece)

    def _new_part_of_call(self, part: CallPart) -> CallPart | None:
        """`complete` counts as delivered with the last characters of the arguments."""
        if part.index >= len(self._call_ids):
            return part
        delivered = 0
        if part.index < len(self._arguments):
            delivered = min(self._arguments[part.index], len(part.arguments))
            self._arguments[part.index] -= delivered
        rest = part.arguments[delivered:]
        return replace(part, id="", name="", arguments=rest) if rest else None
