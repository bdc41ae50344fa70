"""Where a JSON value ends, in text that arrives in pieces."""

from __future__ import annotations

_OPENING = "{["
_CLOSING = "}]"


class JsonScanner:
    """Feed it text in order; it knows strings, so that brackets in them do not count."""

    def __init__(self, depth: int = 0) -> None:
        self._depth = depth
        self._in_string = False
        self._escaped = False

    @property
    def in_string(self) -> bool:
        return self._in_string

    def end_in(self, text: str) -> int | None:
        """The index behind the bracket that closes the value; None while it goes on."""
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
