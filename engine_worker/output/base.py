"""The interface of output parsers, which split a model's text into content, thinking and tool calls.

The model determines which parser is used, the engine where parsers come from: SGLang and llama.cpp bring
their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Content:
    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    text: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """A piece of a tool call.

    Its first piece has `id` and `name`. `arguments` is a piece of JSON text; `complete` is True once they are
    whole.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    complete: bool = False


Piece = Content | Thinking | CallPart


class OutputParser(Protocol):
    """Parses one answer. The total output does not depend on how its text is cut into pieces."""

    def feed(self, text: str) -> Sequence[Piece]:
        """Return what is certain. Text that may become markup is held back; markup is dropped."""

    def finish(self) -> Sequence[Piece]:
        """Return what was held back, at the end of the answer."""

    @property
    def holds(self) -> bool:
        """True if text that was fed may still be returned."""


class PlainText:
    """The parser for answers without thinking and tools."""

    holds = False

    def feed(self, text: str) -> Sequence[Piece]:
        return (Content(text),) if text else ()

    def finish(self) -> Sequence[Piece]:
        return ()
