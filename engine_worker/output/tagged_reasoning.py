"""Thinking between two tags, for answers that the engine does not parse."""

from __future__ import annotations

from enum import Enum, auto

from engine_worker.output.whole_calls import held_beginning


class _State(Enum):
    BEGINNING = auto()
    THINKING = auto()
    CONTENT = auto()


class TaggedThinking:
    """Implements reasoning.ReasoningParser.

    `opened` is True if the prompt ends within a thinking block, so that the answer begins in it. Otherwise
    only an answer that begins with `opening` has thinking.
    """

    def __init__(self, opening: str, closing: str, opened: bool = False) -> None:
        self._opening = opening
        self._closing = closing
        self._state = _State.THINKING if opened else _State.BEGINNING
        self._held = ""

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        if self._state is _State.BEGINNING:
            self._begin()
        thinking = self._think() if self._state is _State.THINKING else ""
        content = self._take() if self._state is _State.CONTENT else ""
        return thinking, content

    def finish(self) -> tuple[str, str]:
        rest = self._take()
        return (rest, "") if self._state is _State.THINKING else ("", rest)

    def _begin(self) -> None:
        if self._opening and self._held.startswith(self._opening):
            self._held = self._held[len(self._opening) :]
            self._state = _State.THINKING
        elif not self._opening or not self._opening.startswith(self._held):
            self._state = _State.CONTENT

    def _think(self) -> str:
        thinking, closing, rest = self._held.partition(self._closing)
        if closing:
            self._held, self._state = rest, _State.CONTENT
            return thinking
        keep = held_beginning(self._held, self._closing)
        thinking, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return thinking

    def _take(self) -> str:
        text, self._held = self._held, ""
        return text
