"""Policy: the less loaded of two random workers. Nearly as even as least load, without herding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from frontend.routing.policies.base import Choices, Chosen
from frontend.routing.policies.indexed_set import IndexedSet
from frontend.routing.policies.least_load import burden


class PowerOfTwo:
    """Implements Policy."""

    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        return _OneOfTwo()


class _OneOfTwo(Generic[Chosen]):
    """Implements Choices."""

    def __init__(self) -> None:
        self._candidates: IndexedSet[Chosen] = IndexedSet()

    def put(self, candidate: Chosen) -> None:
        self._candidates.add(candidate)

    def drop(self, candidate: Chosen) -> None:
        self._candidates.discard(candidate)

    def pick(self, affinity: bytes | None) -> Chosen | None:
        return min(self._candidates.sample(2), key=burden, default=None)
