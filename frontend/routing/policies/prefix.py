"""Policy: requests with the same prompt prefix go to one worker, by consistent hashing with bounded loads.
All frontends choose alike without communication.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Generic

from frontend.routing.policies.base import Choices, Chosen
from frontend.routing.policies.least_load import LeastLoaded
from frontend.routing.policies.ring import Ring

# A worker may have this much more than the average load before the next one on the ring is chosen.
_SLACK = 1.25
# Addresses on the ring; beyond this, removed workers are dropped from it.
_MAX_WORKERS = 4096


class Prefix:
    """Implements Policy. Requests without affinity go to the least loaded worker.

    All workers ever seen are on one ring, and a walk skips those that are not candidates: the others come in
    the same order as on a ring of their own.
    """

    def __init__(self) -> None:
        self._ring = Ring(())

    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        addresses = frozenset(worker.address for worker in workers)
        if not addresses <= self._ring.addresses:
            known = self._ring.addresses | addresses
            self._ring = Ring(known if len(known) <= _MAX_WORKERS else addresses)
        return _OnRing(self._ring)


class _OnRing(Generic[Chosen]):
    """Implements Choices. `_marks` has a byte per point of the ring, 1 if its owner is a candidate: the next
    one is found by a search for that byte, without looking at the workers between.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._marks = bytearray(len(ring.owners))
        self._candidates: dict[str, Chosen] = {}
        self._loads: dict[str, float] = {}
        self._total = 0.0
        self._least_loaded: LeastLoaded[Chosen] = LeastLoaded()

    def put(self, candidate: Chosen) -> None:
        self._least_loaded.put(candidate)
        address, load = candidate.address, candidate.load
        before = self._loads.get(address)
        if before is None:
            self._mark(address, 1)
            self._candidates[address] = candidate
            before = 0.0
        self._total += load - before
        self._loads[address] = load

    def drop(self, candidate: Chosen) -> None:
        self._least_loaded.drop(candidate)
        address = candidate.address
        if self._candidates.pop(address, None) is not None:
            self._mark(address, 0)
            self._total -= self._loads.pop(address)

    def pick(self, affinity: bytes | None) -> Chosen | None:
        count = len(self._candidates)
        if affinity is None or count <= 1:
            return self._least_loaded.pick(None)
        bound = ceil(_SLACK * (self._total + 1) / count)
        for address in self._from(affinity):
            if self._loads[address] < bound:
                return self._candidates[address]
        return self._least_loaded.pick(None)

    def _from(self, affinity: bytes) -> Iterator[str]:
        """Candidates in the order of their points, once around the ring from the key on."""
        marks, owners, start = self._marks, self._ring.owners, self._ring.start(affinity)
        for begin, end in ((start, len(marks)), (0, start)):
            point = marks.find(1, begin, end)
            while point >= 0:
                yield owners[point]
                point = marks.find(1, point + 1, end)

    def _mark(self, address: str, value: int) -> None:
        marks = self._marks
        for point in self._ring.points_of(address):
            marks[point] = value
