"""Facts about a GGUF's tokens that llama-server does not report: bytes of partial characters, and more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from gguf import GGUFReader, TokenType

_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_MODEL, _SPACE_PREFIX = "tokenizer.ggml.model", "tokenizer.ggml.add_space_prefix"
_BYTE_LEVEL, _SENTENCEPIECE = "gpt2", "llama"
_HIDDEN = (TokenType.UNKNOWN, TokenType.CONTROL)


# Continuation bytes of UTF-8.
_CONTINUES, _CONTINUES_MASK = 0b1000_0000, 0b1100_0000


@dataclass(frozen=True, slots=True)
class RecoveredTokens:
    """Tokens without a chunk of their own, and their bytes."""

    ids: list[int]
    data: bytes


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`partial`: tokens whose bytes are not whole UTF-8 characters, keyed by those bytes; `bytes_of`: the
    same keyed by token; `hidden`: tokens that llama.cpp never shows as text; `adds_space`: text is tokenised
    as if a space stood before it.
    """

    size: int = 0
    partial: Mapping[bytes, int] = field(default_factory=dict)
    bytes_of: Mapping[int, bytes] = field(default_factory=dict)
    hidden: frozenset[int] = frozenset()
    adds_space: bool = False

    @classmethod
    def of(cls, reader: GGUFReader) -> Vocabulary:
        """Blocks for some 0.1 s with a large vocabulary. Raises ValueError for one that is none."""
        tokens, kinds = reader.get_field(_TOKENS), reader.get_field(_KINDS)
        if tokens is None or kinds is None:
            return cls(size=len(tokens.data) if tokens else 0)
        texts, types = tokens.contents(), kinds.contents()
        if not (_is_list_of(texts, str) and _is_list_of(types, int)):
            raise ValueError("its tokens are no list of texts, with a list of their kinds")
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

    def before(self, last: int, text: str, count: int, has_more: bool) -> RecoveredTokens | None:
        """Find the `count` tokens before `last` at the end of `text`, each of which ends inside a character;
        None if there are no such tokens. `has_more`: `text` may begin with text of earlier tokens.
        """
        tail, data = self.bytes_of.get(last), text.encode()
        if not tail or not data.endswith(tail):
            return None
        data = data[: -len(tail)]
        for start in _beginnings(data) if has_more else [0]:
            if (ids := self._ids_within(data[start:], count)) is not None:
                return RecoveredTokens(ids, data[start:])
        return None

    def _ids_within(self, data: bytes, count: int) -> list[int] | None:
        """`count` partial tokens whose bytes together are `data`. Of several ways, the one with the longest
        first token, as BPE merges prefer.
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
    """Offsets at which characters begin, the last one first."""
    return (at for at in range(len(data) - 1, -1, -1) if data[at] & _CONTINUES_MASK != _CONTINUES)


def _partial(texts: Sequence[str], types: Sequence[int], is_byte_level: bool) -> Iterator[tuple[bytes, int]]:
    for token, (text, kind) in enumerate(zip(texts, types, strict=True)):
        if kind == TokenType.BYTE:
            yield bytes((int(text[3:5], 16),)), token
        elif is_byte_level and kind == TokenType.NORMAL and not text.isascii():
            data = _bytes_of(text)
            if data is not None and not _is_text(data):
                yield data, token


def _is_list_of(values: object, kind: type) -> bool:
    return isinstance(values, list) and set(map(type, values)) <= {kind}


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _bytes_of(text: str) -> bytes | None:
    """The bytes of a byte-level token, which is written with one character per byte; None if
    it is not one.
    """
    try:
        return bytes(map(_byte_of().__getitem__, text))
    except KeyError:
        return None


@cache
def _byte_of() -> Mapping[str, int]:
    """GPT-2's byte table: printable bytes stand for themselves, the others for characters from U+0100 on."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
