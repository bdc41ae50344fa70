"""Numbered tokens: a text from which a client sees that no token is missing, repeated or out of order.

Each token is three ASCII letters and digits, which is one token of the simulator; after 3,844 tokens the
numbers begin anew.
"""

from __future__ import annotations

import string

CHARACTERS = 3
_DIGITS = string.digits + string.ascii_letters
TOKENS = tuple(f"x{high}{low}" for high in _DIGITS for low in _DIGITS)
_CYCLE = "".join(TOKENS)
_TWICE = _CYCLE * 2


class OutOfOrder(Exception):
    """The text is not the continuation of the numbered tokens."""


def token(number: int) -> str:
    return TOKENS[number % len(TOKENS)]


class Order:
    """Checks one response, part by part."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at = 0

    def accept(self, text: str) -> int:
        """The number of tokens in `text`. Raises OutOfOrder."""
        length = len(text)
        for start in range(0, length, len(_CYCLE)):
            part = text[start : start + len(_CYCLE)]
            if not _TWICE.startswith(part, self._at):
                expected = _TWICE[self._at : self._at + len(part)]
                raise OutOfOrder(f"expected {expected[:30]!r} and got {part[:30]!r}")
            self._at = (self._at + len(part)) % len(_CYCLE)
        return length // CHARACTERS
