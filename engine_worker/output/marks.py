"""Text cut where a mark begins."""

from __future__ import annotations

import re


def held_beginning(text: str, mark: str) -> int:
    """How many characters at the end of `text`, which does not have `mark`, may be the beginning of it."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if mark.startswith(text[-length:]):
            return length
    return 0


class MarkSplitter:
    """Each piece begins with the mark or does not have it; a beginning of a mark at the end is held back."""

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
