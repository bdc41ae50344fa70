"""A reversible tokenizer without vocabulary: a token is up to three bytes, and its id says which."""

from __future__ import annotations

import re
from collections.abc import Iterable

from drover.errors import InvalidRequest

_MAX_BYTES = 3
# Every character belongs to exactly one piece, and more text behind a prompt changes its last piece at most.
_PIECE = re.compile(r" ?\w+| ?[^\w\s]+|\s")


class Tokenizer:
    """`token_bytes`: bytes in a token at most, 1 to 3."""

    def __init__(self, token_bytes: int) -> None:
        self._token_bytes = token_bytes

    def encode(self, text: str) -> list[int]:
        size = self._token_bytes
        ids: list[int] = []
        for piece in _PIECE.findall(text):
            data: bytes = piece.encode()
            for at in range(0, len(data), size):
                part = data[at : at + size]
                ids.append(len(part) << 24 | int.from_bytes(part, "big"))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Replacement characters stand for what is no UTF-8. Raises InvalidRequest for ids of no token."""
        return bytes_of_all(ids).decode(errors="replace")


def bytes_of(token_id: int) -> bytes:
    """The bytes of a token. Raises InvalidRequest if the id is no token's."""
    length, value = token_id >> 24, token_id & 0xFFFFFF
    if not 1 <= length <= _MAX_BYTES or value >> 8 * length:
        raise InvalidRequest(f"{token_id} is not the id of a token of this model")
    return value.to_bytes(length, "big")


def bytes_of_all(ids: Iterable[int]) -> bytes:
    """The bytes of tokens one after the other. Raises InvalidRequest for ids of no token."""
    return b"".join(map(bytes_of, ids))
