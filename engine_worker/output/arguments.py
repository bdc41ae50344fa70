"""A call's arguments, in pieces: whether they are a whole object, at the same cost for each piece."""

from __future__ import annotations

import json

from engine_worker.output.json_text import JsonScanner


class Arguments:
    """Complete once they are an object, unless more than white space follows: nothing that is added makes
    an object of what is none.
    """

    __slots__ = ("_is_closed", "_pieces", "_scanner", "complete")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._scanner = JsonScanner()
        self._is_closed = False
        self.complete = False

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._pieces)

    @property
    def is_blank(self) -> bool:
        return not "".join(self._pieces).strip()

    def add(self, piece: str) -> bool:
        """Whether they are complete now."""
        if not piece:
            return self.complete
        if self._is_closed:
            self.complete = self.complete and not piece.strip()
            return self.complete
        self._pieces.append(piece)
        if self._scanner.end_in(piece) is not None:
            self._is_closed = True
            self.complete = is_object("".join(self._pieces))
        return self.complete


def is_object(text: str) -> bool:
    """An object that is closed cannot go on."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
