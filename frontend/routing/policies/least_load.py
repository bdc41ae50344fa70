"""The worker with the least before a new request."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Generic

from frontend.routing.policies.base import Candidate, Choices, Chosen
from frontend.routing.policies.indexed_set import IndexedSet

# Prefilling so many tokens delays a request as much as one more request in the batch does.
_TOKENS_PER_REQUEST = 512
# Buckets that may be empty where there are few candidates.
_LEAST_EMPTY = 64


def burden(candidate: Candidate) -> float:
    """Requests, with the prompt tokens that wait counted as requests."""
    return candidate.load + candidate.waiting_prompt_tokens / _TOKENS_PER_REQUEST


class LeastLoad:
    """Implements Policy. Among equals chance decides, or frontends that know the same would all go to one."""

    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        return LeastLoaded()


class LeastLoaded(Generic[Chosen]):
    """Implements Choices: candidates of equal burden share a bucket, and a heap has the buckets' burdens. A
    bucket that is empty stays until its turn, since loads come back to what they were.
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
        if len(self._buckets) > 2 * len(self._burdens) + _LEAST_EMPTY:
            self._buckets = {key: each for key, each in self._buckets.items() if each}
            self._heap = sorted(self._buckets)
        bucket = self._buckets[its_burden] = IndexedSet()
        heappush(self._heap, its_burden)
        return bucket
