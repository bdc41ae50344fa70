"""A reversible tokenizer without a vocabulary: a token is up to three bytes, which its id encodes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable

from drover.errors import InvalidRequest

_MAX_BYTES = 3
_CONTINUING = [bytes([byte]) for byte in range(0x80, 0xC0)]
# Every character belongs to exactly one piece, and more text behind a prompt changes its last piece at most.
_PIECE = re.compile(r" ?\w+| ?[^\w\s]+|\s")


class Tokenizer:
    """Tokens of at most `token_bytes` (1 to 3) bytes."""

    def __init__(self, token_bytes: int) -> None:
        self._token_bytes = token_bytes

    def encode(self, text: str) -> list[int]:
        size = self._token_bytes
        ids: list[int] = []
        for piece in _PIECE.findall(text):
            data: bytes = piece.encode()
            for at in range(0, len(data), size):
                ids.append(token_of(data[at : at + size]))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Decode, with replacement characters for invalid UTF-8. Raises InvalidRequest for unknown ids."""
        return bytes_of_all(ids).decode(errors="replace")


def token_of(data: bytes) -> int:
    """The id of the token of these bytes, 1 to 3."""
    return len(data) << 24 | int.from_bytes(data, "big")


def bytes_of(token_id: int) -> bytes:
    """The bytes of a token. Raises InvalidRequest for an unknown id."""
    length, value = token_id >> 24, token_id & 0xFFFFFF
    if not 1 <= length <= _MAX_BYTES or value >> 8 * length:
        raise InvalidRequest(f"{token_id} is not the id of a token of this model")
    return value.to_bytes(length, "big")


def bytes_of_all(ids: Iterable[int]) -> bytes:
    """The bytes of tokens one after the other. Raises InvalidRequest for unknown ids."""
    return b"".join(map(bytes_of, ids))


def rest_of_character(data: bytes) -> list[bytes]:
    """The bytes that complete a UTF-8 character that was cut, one by one; empty if none was cut."""
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    decoder.decode(data)
    rest: list[bytes] = []
    while begun := decoder.getstate()[0]:
        rest.append(next(byte for byte in _CONTINUING if _fits(begun + byte)))
        decoder.decode(rest[-1])
    return rest


def _fits(data: bytes) -> bool:
    """True if this is a UTF-8 character or the beginning of one."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(data)
    except UnicodeDecodeError:
        return False
    return True
