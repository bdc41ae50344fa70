"""Requests whose prompts begin alike go to one worker, as long as that is fair: consistent hashing with
bounded loads. All frontends pick alike without talking to each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Generic

from frontend.routing.policies.base import Choices, Chosen
from frontend.routing.policies.least_load import LeastLoaded
from frontend.routing.policies.ring import Ring

# A worker may have a quarter more than its even share before the next one on the ring is asked.
_SLACK = 1.25
# On the ring; those that have gone are forgotten together when there are more.
_MOST_WORKERS = 4096


class Prefix:
    """Implements Policy. What has no affinity goes where the load is least.

    All workers that were ever seen are on one ring, and a walk leaves out those that are no candidates: the
    others come in the same order as on a ring of their own.
    """

    def __init__(self) -> None:
        self._ring = Ring(())

    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        addresses = frozenset(worker.address for worker in workers)
        if not addresses <= self._ring.addresses:
            known = self._ring.addresses | addresses
            self._ring = Ring(known if len(known) <= _MOST_WORKERS else addresses)
        return _OnRing(self._ring)


class _OnRing(Generic[Chosen]):
    """Implements Choices. `marks`: of each point of the ring whether its owner is a candidate; the next one
    is found by a search for a byte, not by looking at the workers between.
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
        """The candidates in the order of their points, once around from the key on."""
        marks, owners, start = self._marks, self._ring.owners, self._ring.start(affinity)
        for begin, end in ((start, len(marks)), (0, start)):
            place = marks.find(1, begin, end)
            while place >= 0:
                yield owners[place]
                place = marks.find(1, place + 1, end)

    def _mark(self, address: str, value: int) -> None:
        marks = self._marks
        for place in self._ring.places(address):
            marks[place] = value
