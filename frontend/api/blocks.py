"""An answer as a sequence of blocks (thinking, text, tool calls), which Messages and Responses stream.

One block is open at a time, and the next one closes it: text after a call is a block of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

import orjson

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.tool_calls import new_call_id

_NO_ARGUMENTS = "{}"


class Kind(Enum):
    THINKING = auto()
    TEXT = auto()
    CALL = auto()


class Change(Enum):
    BEGINS = auto()
    GROWS = auto()
    ENDS = auto()


@dataclass(slots=True, eq=False)
class Block:
    """`complete`: the arguments of a call are whole. Other blocks are complete when they end."""

    kind: Kind
    index: int
    call_id: str = ""
    name: str = ""
    complete: bool = False
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text, or the arguments of a call as JSON, which may be cut off."""
        return "".join(self.pieces)

    @property
    def arguments(self) -> dict[str, Json] | None:
        """The arguments of a call; None where they are no JSON object."""
        try:
            value: Json = orjson.loads(self.text or _NO_ARGUMENTS)
        except orjson.JSONDecodeError:
            return None
        return value if isinstance(value, dict) else None


Step = tuple[Change, Block, str]


class Blocks:
    """Splits an answer into blocks. `all`: those begun so far. A step's text is what its block grows by."""

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._open: Block | None = None
        self._calls: dict[int, Block] = {}

    def feed(self, delta: pb.Delta) -> list[Step]:
        steps: list[Step] = []
        if delta.thinking:
            self._append(Kind.THINKING, delta.thinking, steps)
        if delta.content:
            self._append(Kind.TEXT, delta.content, steps)
        for piece in delta.tool_calls:
            self._append_call(piece, steps)
        return steps

    def grow(self, text: str) -> Block | None:
        """Append to the open text block; None where another block is open."""
        block = self._open
        if block is None or block.kind is not Kind.TEXT:
            return None
        block.pieces.append(text)
        return block

    def gather(self, delta: pb.Delta) -> None:
        self.feed(delta)

    def end(self) -> list[Step]:
        """Close the open block."""
        block, self._open = self._open, None
        return [] if block is None else [(Change.ENDS, block, "")]

    @property
    def has_whole_call(self) -> bool:
        return any(block.complete for block in self._calls.values())

    def _append(self, kind: Kind, text: str, steps: list[Step]) -> None:
        block = self._open
        if block is None or block.kind is not kind:
            block = Block(kind, len(self.all))
            self._begin(block, steps)
        block.pieces.append(text)
        steps.append((Change.GROWS, block, text))

    def _append_call(self, piece: pb.ToolCallDelta, steps: list[Step]) -> None:
        block = self._calls.get(piece.index)
        if block is None:
            block = Block(Kind.CALL, len(self.all), piece.id or new_call_id(), piece.name)
            self._calls[piece.index] = block
            self._begin(block, steps)
        if block is not self._open:
            # Some engines report at the end that a call has no arguments; the client has `{}` already.
            return
        block.complete = block.complete or piece.complete
        if piece.arguments_fragment or (block.complete and not block.pieces):
            fragment = piece.arguments_fragment or _NO_ARGUMENTS
            block.pieces.append(fragment)
            steps.append((Change.GROWS, block, fragment))

    def _begin(self, block: Block, steps: list[Step]) -> None:
        """Open a block, and close the one before it."""
        if self._open is not None:
            self._close_before_another(self._open, steps)
        self.all.append(block)
        self._open = block
        steps.append((Change.BEGINS, block, ""))

    def _close_before_another(self, block: Block, steps: list[Step]) -> None:
        if block.kind is Kind.CALL and not block.pieces:
            block.complete = True
            block.pieces.append(_NO_ARGUMENTS)
            steps.append((Change.GROWS, block, _NO_ARGUMENTS))
        steps.append((Change.ENDS, block, ""))
