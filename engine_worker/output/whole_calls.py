"""Split text at marks, and read calls that are complete only at the end of the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from engine_worker.output.tool_calls import CallFragment, CallParser


def held_beginning(text: str, mark: str) -> int:
    """The number of characters at the end of `text` (without `mark` in it) that may begin `mark`."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-length:]):
            return length
    return 0


class MarkSplitter:
    """Cuts text before each mark. What may be the beginning of a mark is held back."""

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._before_mark = re.compile(f"(?={re.escape(mark)})")
        self._held = ""

    def feed(self, text: str) -> list[str]:
        text = self._held + text
        cut = len(text) - self._length_of_beginning(text)
        text, self._held = text[:cut], text[cut:]
        return [piece for piece in self._before_mark.split(text) if piece]

    def finish(self) -> list[str]:
        held, self._held = self._held, ""
        return [held] if held else []

    def _length_of_beginning(self, text: str) -> int:
        after_last_mark = text.rfind(self._mark) + len(self._mark) if self._mark in text else 0
        return held_beginning(text[after_last_mark:], self._mark)


# Reads what starts where a call may begin: returns text and calls, no calls if it is none.
ReadWhole = Callable[[str], tuple[str, Sequence[CallFragment]]]


class FromFirstName:
    """A CallParser for formats without a mark, like `[name(argument=1)]`.

    `opening` and `behind` are the characters around a name. Names of other functions are text.
    """

    def __init__(self, read: ReadWhole, opening: str, behind: str, names: Collection[str]) -> None:
        self._read = read
        self._opening = opening
        self._names = names
        self._head = re.compile(rf"{re.escape(opening)}\s*([\w.-]+)\s*{re.escape(behind)}")
        self._may_be_head = re.compile(rf"{re.escape(opening)}\s*[\w.-]*\s*")
        self._held = ""
        self._waits = False
        # Text since a call began, which is read at the end of the answer.
        self._more: list[str] = []

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        if self._waits:
            self._more.append(text)
            return "", ()
        self._held += text
        shown: list[str] = []
        while not self._waits and self._held:
            at = self._held.find(self._opening)
            if at < 0:
                shown.append(self._taken(len(self._held)))
                break
            shown.append(self._taken(at))
            head = self._head.match(self._held)
            self._waits = head is not None and head[1] in self._names
            if self._waits or (head is None and self._may_be_head.fullmatch(self._held)):
                break
            shown.append(self._taken(len(self._opening)))
        return "".join(shown), ()

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        held = self._taken(len(self._held)) + "".join(self._more)
        return self._read(held) if self._waits else (held, ())

    def _taken(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken


class OnlyCalls:
    """A CallParser that drops the text of another one: a grammar makes the answer nothing but calls."""

    def __init__(self, parser: CallParser) -> None:
        self._parser = parser

    @property
    def holds(self) -> bool:
        return self._parser.holds

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        return "", self._parser.feed(text)[1]

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        return "", self._parser.finish()[1]
