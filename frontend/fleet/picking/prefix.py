"""Requests whose prompts begin alike go to one worker, as long as that is fair: consistent hashing with
bounded loads. All frontends pick alike without talking to each other.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from hashlib import blake2b
from math import ceil

from frontend.fleet.picking.base import Candidate, Chosen
from frontend.fleet.picking.least_load import LeastLoad

# A worker may have a quarter more than its even share before the next one on the ring is asked.
_SLACK = 1.25
_POINTS_PER_WORKER = 64
# On the ring; those that have gone are forgotten together when there are more.
_MOST_WORKERS = 4096


class Prefix:
    """Implements Policy. What has no affinity goes where the load is least.

    All workers that were ever candidates are on one ring, and a walk leaves out those that are none now: the
    others come in the same order as on a ring of their own, which would have to be made for each set of
    workers that have room.
    """

    def __init__(self) -> None:
        self._least_load = LeastLoad()
        self._known: frozenset[str] = frozenset()
        self._ring: Sequence[tuple[int, str]] = ()
        self._last: Sequence[Candidate] = ()
        self._numbers: Mapping[str, int] = {}

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        if affinity is None or len(candidates) == 1:
            return self._least_load.pick(candidates, None)
        numbers = self._numbers_of(candidates)
        total = sum([each.load for each in candidates])
        bound = ceil(_SLACK * (total + 1) / len(candidates))
        for number in _around(self._ring, affinity, numbers):
            if candidates[number].load < bound:
                return candidates[number]
        return self._least_load.pick(candidates, None)

    def _numbers_of(self, candidates: Sequence[Candidate]) -> Mapping[str, int]:
        """Each candidate's place in the row, by its address. The same tuple has not changed since."""
        if candidates is self._last:
            return self._numbers
        numbers = {each.address: number for number, each in enumerate(candidates)}
        if not numbers.keys() <= self._known:
            self._learn(numbers.keys())
        if isinstance(candidates, tuple):
            self._last, self._numbers = candidates, numbers
        return numbers

    def _learn(self, addresses: Set[str]) -> None:
        known = self._known | addresses
        self._known = known if len(known) <= _MOST_WORKERS else frozenset(addresses)
        self._ring = sorted(point for address in self._known for point in _points(address))


def _around(ring: Sequence[tuple[int, str]], affinity: bytes, numbers: Mapping[str, int]) -> Iterator[int]:
    """Each of `numbers` once, from the key's place on the ring on."""
    start = bisect(ring, (_point(affinity), ""))
    seen: set[str] = set()
    for step in range(len(ring)):
        address = ring[(start + step) % len(ring)][1]
        if address in numbers and address not in seen:
            seen.add(address)
            yield numbers[address]


@lru_cache(maxsize=_MOST_WORKERS)
def _points(address: str) -> Sequence[tuple[int, str]]:
    return [(_point(f"{address}#{number}".encode()), address) for number in range(_POINTS_PER_WORKER)]


def _point(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
