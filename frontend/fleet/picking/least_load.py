"""The worker with the least before a new request."""

from __future__ import annotations

import random
from collections.abc import Sequence

from frontend.fleet.picking.base import Candidate, Chosen

# Prefilling so many tokens delays a request as much as one more request in the batch does.
_TOKENS_PER_REQUEST = 512


def burden(candidate: Candidate) -> float:
    """Requests, with the prompt tokens that wait counted as requests."""
    return candidate.load + candidate.waiting_prompt_tokens / _TOKENS_PER_REQUEST


class LeastLoad:
    """Implements Policy. Among equals chance decides, or frontends that know the same would all go to one."""

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        # `burden` without a call for each: there may be hundreds.
        burdens = [each.load + each.waiting_prompt_tokens / _TOKENS_PER_REQUEST for each in candidates]
        least = min(burdens)
        return random.choice([each for each, its in zip(candidates, burdens, strict=True) if its <= least])
