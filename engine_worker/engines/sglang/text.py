"""The text and the log probabilities of new tokens."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.numbers import finite
from engine_worker.engines.sglang.upstream.calls import Chunk, Meta

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CHARACTER_BYTES = 4


class TextSource(Protocol):
    def of(self, chunk: Chunk, ids: Sequence[int]) -> str:
        """Return the text that is certain after these tokens; `ids` lack the end-of-sequence token."""

    def finish(self) -> str:
        """Return what was held back, if the answer ends otherwise than by a stop text."""


class TokenTable(Protocol):
    """The bytes of tokens, and which of them are special."""

    def bytes_of(self, token: int) -> bytes: ...

    def is_special(self, token: int) -> bool: ...


class EngineText:
    """The text of SGLang's chunks, which its detokenizer process makes.

    A character that the end of the answer cuts is left out; SGLang shows a replacement character for it.
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
    """The text of a resumed answer, decoded from token bytes.

    SGLang decodes only the tokens that it produced itself, and would lose a character that began in the
    tokens of an earlier attempt.
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
        """Leave out a character that the end of the answer cuts."""
        return ""


def _cut_bytes(data: bytes) -> int:
    """Number of bytes at the end that are an incomplete character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return len(decoder.getstate()[0])


class Logprobs:
    """SGLang's log probabilities with the bytes of their tokens, and `top` alternatives for each."""

    def __init__(self, vocabulary: TokenTable, top: int) -> None:
        self._vocabulary = vocabulary
        self._top = top

    def of(self, meta: Meta) -> list[pb.TokenLogprob]:
        """One log probability for each new token of a chunk, the end-of-sequence token included."""
        chosen = meta.get("output_token_logprobs") or []
        alternatives = meta.get("output_top_logprobs") or []
        return [
            pb.TokenLogprob(
                token_id=token,
                token=self._vocabulary.bytes_of(token),
                logprob=finite(logprob),
                top=self._alternatives(alternatives[at] if at < len(alternatives) else None),
            )
            for at, (logprob, token, _) in enumerate(chosen)
        ]

    def _alternatives(
        self, candidates: list[tuple[float, int, None]] | None
    ) -> list[pb.TokenLogprob.Alternative]:
        if not candidates or not self._top:
            return []
        return [
            pb.TokenLogprob.Alternative(
                token_id=token, token=self._vocabulary.bytes_of(token), logprob=finite(logprob)
            )
            for logprob, token, _ in sorted(candidates, key=lambda each: -each[0])[: self._top]
        ]
