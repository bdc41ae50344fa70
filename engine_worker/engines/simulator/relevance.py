"""The simulator's scores and classes: functions of the texts."""

from __future__ import annotations

from collections.abc import Sequence

from engine_worker.engines.simulator.text import unit, vector

LABELS = ("negative", "neutral", "positive")
# The logit of a text and itself, as large as those of real rerankers.
_LARGEST_LOGIT = 8.0


def relevance(query: str, document: str, seed: int) -> float:
    """A logit: texts with common words have larger ones."""
    one, other = unit(vector(query, seed)), unit(vector(document, seed))
    return _LARGEST_LOGIT * sum(left * right for left, right in zip(one, other, strict=True))


def class_logits(text: str, seed: int) -> Sequence[float]:
    """One for each of LABELS."""
    return vector(text, seed)[: len(LABELS)]
