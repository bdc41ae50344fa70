"""Separate thinking from content, with the white space between them as Ollama treats it.

White space before the first word and after a thinking block is dropped, unless there was no thinking: then it
is content (recorded cases "#think" and "#space").
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from engine_worker.output.base import OutputParser, Piece, Thinking


class ReasoningParser(Protocol):
    """Knows one model's markup of thinking."""

    def feed(self, text: str) -> tuple[str, str]:
        """Return thinking, then content."""

    def finish(self) -> tuple[str, str]:
        """Return what was held back."""

    @property
    def holds(self) -> bool: ...


class _State(Enum):
    BEGINNING = auto()
    THINKING_BEGINS = auto()
    THINKING = auto()
    CONTENT_BEGINS = auto()
    CONTENT = auto()


class ThinkingFirst:
    """An OutputParser that hands content to `content_parser`. Thinking is dropped unless `shown`."""

    def __init__(self, reasoning: ReasoningParser, content_parser: OutputParser, shown: bool = True) -> None:
        self._reasoning = reasoning
        self._content_parser = content_parser
        self._shown = shown
        self._state = _State.BEGINNING
        self._blank = ""
        self._fed = ""

    @property
    def holds(self) -> bool:
        if self._blank or self._reasoning.holds:
            return True
        return self._state is _State.CONTENT and self._content_parser.holds

    def feed(self, text: str) -> Sequence[Piece]:
        if self._state is _State.BEGINNING and not self._fed:
            text = self._blank + text
            # A parser that looks for markup at the very beginning must not see white space there.
            begins = text.lstrip()
            if not begins:
                self._blank = text
                return ()
            self._blank, text = text[: len(text) - len(begins)], begins
        if self._state is _State.BEGINNING:
            self._fed += text
        return self._split(*self._reasoning.feed(text))

    def finish(self) -> Sequence[Piece]:
        pieces = list(self._split(*self._reasoning.finish()))
        if self._state is _State.BEGINNING and self._blank:
            pieces += self._content_parser.feed(self._blank)
        return [*pieces, *self._content_parser.finish()]

    def _split(self, thinking: str, content: str) -> Sequence[Piece]:
        pieces: list[Piece] = []
        if thinking := self._as_thinking(thinking):
            pieces.append(Thinking(thinking))
        if content := self._as_content(content):
            pieces += self._content_parser.feed(content)
        return pieces

    def _as_thinking(self, text: str) -> str:
        if not text:
            return ""
        if self._state is not _State.THINKING:
            text = text.lstrip()
            self._blank = ""
            self._state = _State.THINKING if text else _State.THINKING_BEGINS
        return text if self._shown else ""

    def _as_content(self, text: str) -> str:
        if not text or self._state is _State.CONTENT:
            return text
        if self._state is _State.BEGINNING and self._begins_with(text):
            text, self._blank = self._blank + text, ""
        else:
            # Markup came before it, even if it enclosed nothing.
            text, self._blank = text.lstrip(), ""
        self._state = _State.CONTENT if text else _State.CONTENT_BEGINS
        return text

    def _begins_with(self, content: str) -> bool:
        """True if no markup came before it."""
        return self._fed == content or (self._reasoning.holds and self._fed.startswith(content))
