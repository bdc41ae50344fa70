"""What a GGUF says of its tokens, as far as llama-server keeps it to itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from gguf import GGUFReader, TokenType

_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_MODEL, _SPACE_PREFIX = "tokenizer.ggml.model", "tokenizer.ggml.add_space_prefix"
_BYTE_LEVEL, _SENTENCEPIECE = "gpt2", "llama"
_HIDDEN = (TokenType.UNKNOWN, TokenType.CONTROL)


# The bytes of a character in UTF-8 after its first one.
_CONTINUES, _CONTINUES_MASK = 0b1000_0000, 0b1100_0000


@dataclass(frozen=True, slots=True)
class Split:
    ids: list[int]
    data: bytes


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`partial`: the tokens whose bytes are no whole characters, by these bytes; `bytes_of`: the same by
    token; `hidden`: those that llama.cpp never shows as text; `adds_space`: text is tokenised as if a space
    stood before it.
    """

    size: int = 0
    partial: Mapping[bytes, int] = field(default_factory=dict)
    bytes_of: Mapping[int, bytes] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    adds_space: bool = False

    @classmethod
    def of(cls, reader: GGUFReader) -> Vocabulary:
        """Takes some tenths of a second for a large vocabulary."""
        tokens, kinds = reader.get_field(_TOKENS), reader.get_field(_KINDS)
        if tokens is None or kinds is None:
            return cls(size=len(tokens.data) if tokens else 0)
        texts, types = tokens.contents(), kinds.contents()
        model = reader.get_field(_MODEL)
        name = model.contents() if model else ""
        prefix = reader.get_field(_SPACE_PREFIX)
        partial = dict(_partial(texts, types, is_byte_level=name == _BYTE_LEVEL))
        return cls(
            size=len(texts),
            partial=partial,
            bytes_of={token: data for data, token in partial.items()},
            hidden=frozenset(at for at, kind in enumerate(types) if kind in _HIDDEN),
            adds_space=name == _SENTENCEPIECE and (prefix is None or bool(prefix.contents())),
        )

    def before(self, last: int, text: str, count: int, has_more: bool) -> Split | None:
        """The `count` tokens, each of which ends inside a character, that stand before `last` at the end of
        `text`; None: there are none. `has_more`: in front of them is text of earlier tokens.
        """
        tail, data = self.bytes_of.get(last), text.encode()
        if not tail or not data.endswith(tail):
            return None
        data = data[: -len(tail)]
        for start in _beginnings(data) if has_more else [0]:
            if (ids := self._ids_within(data[start:], count)) is not None:
                return Split(ids, data[start:])
        return None

    def _ids_within(self, data: bytes, count: int) -> list[int] | None:
        """`count` partial tokens that make `data` together. Of several ways the one with the longest first
        tokens, as merges make them.
        """
        if not count:
            return [] if not data else None
        for length in range(len(data) - count + 1, 0, -1):
            token = self.partial.get(data[:length])
            rest = None if token is None else self._ids_within(data[length:], count - 1)
            if token is not None and rest is not None:
                return [token, *rest]
        return None


def _beginnings(data: bytes) -> Iterator[int]:
    """Where characters begin, the last one first."""
    return (at for at in range(len(data) - 1, -1, -1) if data[at] & _CONTINUES_MASK != _CONTINUES)


def _partial(texts: Sequence[str], types: Sequence[int], is_byte_level: bool) -> Iterator[tuple[bytes, int]]:
    for token, (text, kind) in enumerate(zip(texts, types, strict=True)):
        if kind == TokenType.BYTE:
            yield bytes((int(text[3:5], 16),)), token
        elif is_byte_level and kind == TokenType.NORMAL and not text.isascii():
            data = _bytes_of(text)
            if data is not None and not _is_text(data):
                yield data, token


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bytes_of(text: str) -> bytes | None:
    """Of a byte-level token, which is written with a character for each byte."""
    try:
        return bytes(map(_byte_of().__getitem__, text))
    except KeyError:
        return None


@cache
def _byte_of() -> Mapping[str, int]:
    """GPT-2's: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
