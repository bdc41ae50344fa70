"""Log probabilities of tokens, as the dialects write them."""

from __future__ import annotations

from collections.abc import Iterable

from drover.v1 import engine_pb2 as pb

# OpenAI's word for "too unlikely to say".
_LEAST_LOGPROB = -9999.0


def logprob_entries(logprobs: Iterable[pb.TokenLogprob]) -> list[dict[str, object]]:
    """`top_logprobs` only where alternatives were asked for."""
    entries = []
    for logprob in logprobs:
        entry = _logprob(logprob.token, logprob.logprob)
        if logprob.top:
            entry["top_logprobs"] = [_logprob(other.token, other.logprob) for other in logprob.top]
        entries.append(entry)
    return entries


def finite_logprob(logprob: float) -> float:
    """Clamp to what JSON can hold, which has no infinities, and clients can take the exponential of."""
    return min(0.0, logprob) if logprob >= _LEAST_LOGPROB else _LEAST_LOGPROB


def _logprob(token: bytes, logprob: float) -> dict[str, object]:
    entry: dict[str, object] = {"token": token.decode(errors="replace"), "logprob": finite_logprob(logprob)}
    if token:
        entry["bytes"] = list(token)
    return entry
