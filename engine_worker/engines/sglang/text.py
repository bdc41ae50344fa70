"""Where the text of new tokens comes from."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol

from engine_worker.engines.sglang.upstream.process import Chunk


class TextSource(Protocol):
    def of(self, chunk: Chunk, ids: Sequence[int]) -> str:
        """The text that is certain with these new tokens; `ids` are without the end-of-sequence token."""

    def finish(self) -> str:
        """What was held back, when the answer ends otherwise than by a stop text."""


class EngineText:
    """SGLang's own: its detokenizer runs in a process of its own and costs nothing here."""

    def of(self, chunk: Chunk, ids: Sequence[int]) -> str:
        return chunk["text"]

    def finish(self) -> str:
        return ""


class TokenTable(Protocol):
    def bytes_of(self, token: int) -> bytes: ...

    def is_special(self, token: int) -> bool: ...


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
        return self._decoder.decode(b"", final=True)
