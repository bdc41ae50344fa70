"""Log probabilities as every engine reports them: finite, so that they can be written as JSON."""

from __future__ import annotations

# OpenAI's word for "too unlikely to say".
LEAST_LOGPROB = -9999.0


def finite(logprob: float | None) -> float:
    """Engines say None, NaN, minus infinity or the least 32-bit number of what has no probability."""
    if logprob is None or not logprob >= LEAST_LOGPROB:
        return LEAST_LOGPROB
    return min(0.0, logprob)
