"""The seam between a model's text and what a client gets: content, thinking and tool calls.

An engine that hands out plain text feeds it to an OutputParser. Which parser that is, is a matter of the
model; where parsers come from, of the engine (SGLang and llama.cpp bring their own).
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
    """A piece of a tool call. `id` and `name` come with its first piece, `arguments` are a piece of JSON
    text; `complete` says that they are whole now.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    complete: bool = False


Piece = Content | Thinking | CallPart


class OutputParser(Protocol):
    """One for each answer. However its text is cut into pieces, the sum of what comes out is the same."""

    def feed(self, text: str) -> Sequence[Piece]:
        """What is certain now. Text that may turn out to be markup is held back, markup is not shown."""

    def finish(self) -> Sequence[Piece]:
        """What was held back, when the answer is over."""

    @property
    def holds(self) -> bool:
        """Whether text that was fed may still come out."""


class PlainText:
    """The parser of models, and of requests, without thinking and tools."""

    holds = False

    def feed(self, text: str) -> Sequence[Piece]:
        return (Content(text),) if text else ()

    def finish(self) -> Sequence[Piece]:
        return ()
