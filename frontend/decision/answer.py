"""An answer: the probabilities of a question's labels, and how sure the model is.

There are two formulas of confidence. Ollama's is the share of entropy that is missing: 1 - H(p) / ln n. The
other one compares the most probable label (of a choice) or the spread around it (of a score) with an even
distribution; SGLang, llama.cpp and the hosted System One models answer with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """`probabilities`: of the labels among themselves, in their order. `label_mass`: what the labels have
    together of the probability of all tokens; near 0 the model wanted to say something else.
    """

    probabilities: Sequence[float]
    label_mass: float

    @classmethod
    def of(cls, logprobs: Sequence[float], temperature: float = 1.0) -> Answer:
        """`logprobs`: over the whole vocabulary. The temperature changes the probabilities only."""
        mass = min(1.0, math.fsum(map(math.exp, logprobs)))
        most = max(logprobs)
        weights = [math.exp((logprob - most) / temperature) for logprob in logprobs]
        total = math.fsum(weights)
        return cls([weight / total for weight in weights], mass)

    @property
    def best(self) -> int:
        """The first of the most probable labels."""
        return self.probabilities.index(max(self.probabilities))

    @property
    def score(self) -> float:
        """The expected level."""
        return math.fsum(level * share for level, share in enumerate(self.probabilities))

    @property
    def entropy_confidence(self) -> float:
        """Ollama's, of a choice and of a score."""
        if len(self.probabilities) < 2:
            return 1.0
        entropy = -math.fsum(share * math.log(share) for share in self.probabilities if share > 0)
        return min(1.0, max(0.0, 1 - entropy / math.log(len(self.probabilities))))

    @property
    def choice_confidence(self) -> float:
        count = len(self.probabilities)
        return 1.0 if count < 2 else max(0.0, (count * max(self.probabilities) - 1) / (count - 1))

    @property
    def score_confidence(self) -> float:
        count, mode = len(self.probabilities), self.best
        if count < 2:
            return 1.0
        spread = math.fsum(share * abs(level - mode) for level, share in enumerate(self.probabilities))
        even = math.fsum(abs(level - (count - 1) / 2) for level in range(count)) / count
        return max(0.0, 1 - spread / even)
