"""Where the text of new tokens comes from."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from engine_worker.engines.sglang.upstream.process import Chunk

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CHARACTER_BYTES = 4


class TextSource(Protocol):
    def of(self, chunk: Chunk, ids: Sequence[int]) -> str:
        """The text that is certain with these new tokens; `ids` are without the end-of-sequence token."""

    def finish(self) -> str:
        """What was held back, when the answer ends otherwise than by a stop text."""


class TokenTable(Protocol):
    def bytes_of(self, token: int) -> bytes: ...

    def is_special(self, token: int) -> bool: ...


class EngineText:
    """SGLang's own: its detokenizer runs in a process of its own and costs nothing here. A character that the
    end of the answer cuts is left out; SGLang shows a replacement character for it.
    """

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._tail: deque[int] = deque(maxlen=_CHARACTER_BYTES)

    def of(self, chunk: Chunk, ids: Sequence[int]) -> str:
        self._tail.extend(ids)
        text = chunk["text"]
        if chunk["meta_info"].get("finish_reason") is None or not text.endswith(_REPLACEMENT):
            return text
        cut_bytes = _cut_bytes(b"".join(map(self._table.bytes_of, self._tail)))
        whole = text.rstrip(_REPLACEMENT)
        return whole + _REPLACEMENT * max(0, len(text) - len(whole) - cut_bytes)

    def finish(self) -> str:
        return ""


class ContinuedText:
    """Made from token bytes, also over the joint: SGLang knows only the tokens that it produced itself, and
    loses a character that began before them.
    """

    def __init__(self, table: TokenTable, skip_special: bool) -> None:
        self._table = table
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, chunk: Chunk, ids: Sequence[int]) -> str:
        return self.of_tokens(ids)

    def of_tokens(self, ids: Sequence[int]) -> str:
        shown = ids
        if self._skip_special:
            shown = [token for token in ids if not self._table.is_special(token)]
        return self._decoder.decode(b"".join(map(self._table.bytes_of, shown)))

    def finish(self) -> str:
        """A character that the end of the answer cuts is left out."""
        return ""


def _cut_bytes(data: bytes) -> int:
    """Bytes at the end that only begin a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return len(decoder.getstate()[0])
