"""Log probabilities as SGLang gives them, with the bytes of their tokens."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.logprobs import finite
from engine_worker.engines.sglang.text import TokenTable
from engine_worker.engines.sglang.upstream.process import Meta


class Logprobs:
    """`top`: alternatives wanted for each token."""

    def __init__(self, vocabulary: TokenTable, top: int) -> None:
        self._vocabulary = vocabulary
        self._top = top

    def of(self, meta: Meta) -> list[pb.TokenLogprob]:
        """One for each new token of a chunk, the end-of-sequence token's too."""
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
