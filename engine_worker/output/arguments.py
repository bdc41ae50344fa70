"""The arguments of a tool call, in pieces: where they end, and whether they are a whole object."""

from __future__ import annotations

import json

_OPENING = "{["
_CLOSING = "}]"


class JsonScanner:
    """Finds the end of a JSON value in text that arrives in pieces; brackets in strings do not count."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._in_string = False
        self._escaped = False

    @property
    def in_string(self) -> bool:
        return self._in_string

    def end_in(self, text: str) -> int | None:
        """Return the index after the closing bracket of the value; None if it has not ended."""
        for at, character in enumerate(text):
            if self._in_string:
                self._string(character)
            elif character == '"':
                self._in_string = True
            elif character in _OPENING:
                self._depth += 1
            elif character in _CLOSING:
                self._depth -= 1
                if self._depth <= 0:
                    return at + 1
        return None

    def _string(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._in_string = False


class Arguments:
    """The arguments of one call, at constant cost for each piece.

    They are complete once they are a JSON object, unless more than white space follows.
    """

    __slots__ = ("_is_closed", "_pieces", "_scanner", "complete")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._scanner = JsonScanner()
        self._is_closed = False
        self.complete = False

    def __bool__(self) -> bool:
        """True if there are any."""
        return bool(self._pieces)

    @property
    def is_blank(self) -> bool:
        return not "".join(self._pieces).strip()

    def add(self, piece: str) -> bool:
        """Add a piece; return True if the arguments are complete."""
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
    """True if the text is a whole JSON object."""
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
