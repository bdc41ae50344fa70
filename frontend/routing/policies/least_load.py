"""Policy: the worker with the least load."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Generic

from frontend.routing.policies.base import Candidate, Choices, Chosen
from frontend.routing.policies.indexed_set import IndexedSet

# Prefill of this many tokens delays a request as much as one more request in the batch.
TOKENS_PER_REQUEST = 512
# Empty buckets that are kept even if there are few candidates.
_MIN_EMPTY = 64


def burden(candidate: Candidate) -> float:
    """Load in requests, with queued prompt tokens converted to requests."""
    return candidate.load + candidate.waiting_prompt_tokens / TOKENS_PER_REQUEST


class LeastLoad:
    """Implements Policy. Ties are broken at random, or all frontends would choose the same worker."""

    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        return LeastLoaded()


class LeastLoaded(Generic[Chosen]):
    """Implements Choices: candidates of equal burden share a bucket; a heap orders the buckets. Empty buckets
    are kept until they reach the top of the heap, since loads return to earlier values.
    """

    def __init__(self) -> None:
        self._burdens: dict[Chosen, float] = {}
        self._buckets: dict[float, IndexedSet[Chosen]] = {}
        self._heap: list[float] = []

    def __len__(self) -> int:
        return len(self._burdens)

    def put(self, candidate: Chosen) -> None:
        new = burden(candidate)
        old = self._burdens.get(candidate)
        if old == new:
            return
        if old is not None:
            self._buckets[old].discard(candidate)
        self._burdens[candidate] = new
        self._bucket(new).add(candidate)

    def drop(self, candidate: Chosen) -> None:
        if (old := self._burdens.pop(candidate, None)) is not None:
            self._buckets[old].discard(candidate)

    def pick(self, affinity: bytes | None) -> Chosen | None:
        if not self._burdens:
            return None
        while not (least := self._buckets[self._heap[0]]):
            del self._buckets[heappop(self._heap)]
        return least.any()

    def _bucket(self, its_burden: float) -> IndexedSet[Chosen]:
        if (bucket := self._buckets.get(its_burden)) is not None:
            return bucket
        if len(self._buckets) > 2 * len(self._burdens) + _MIN_EMPTY:
            self._buckets = {key: each for key, each in self._buckets.items() if each}
            self._heap = sorted(self._buckets)
        bucket = self._buckets[its_burden] = IndexedSet()
        heappush(self._heap, its_burden)
        return bucket
