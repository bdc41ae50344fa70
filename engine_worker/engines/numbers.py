"""Numbers as every engine reports them."""

from __future__ import annotations

# OpenAI's value for a token that is too unlikely.
LEAST_LOGPROB = -9999.0


def finite(logprob: float | None) -> float:
    """Replace None, NaN, minus infinity and the least 32-bit float, which engines use for probability 0."""
    if logprob is None or not logprob >= LEAST_LOGPROB:
        return LEAST_LOGPROB
    return min(0.0, logprob)


def human_count(count: int) -> str:
    """Format a parameter count as Ollama does: 134.52M, 3.2B, 8B."""
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0)):
        if count >= size:
            amount = count / size
            return f"{amount:.0f}{unit}" if amount == int(amount) else f"{amount:.{digits}f}{unit}"
    return str(count)
