"""Requests whose prompts begin alike go to one worker, as long as that is fair: consistent hashing with
bounded loads. All frontends pick alike without talking to each other.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import ceil

from frontend.fleet.picking.base import Chosen
from frontend.fleet.picking.least_load import LeastLoad

# A worker may have a quarter more than its even share before the next one on the ring is asked.
_SLACK = 1.25
_POINTS_PER_WORKER = 64
# Of the sets of workers that have room, and of workers: what is asked for again and again.
_RINGS = 128
_MOST_WORKERS = 1024


class Prefix:
    """Implements Policy. What has no affinity goes where the load is least."""

    def __init__(self) -> None:
        self._least_load = LeastLoad()

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        if affinity is None or len(candidates) == 1:
            return self._least_load.pick(candidates, None)
        by_address = {each.address: each for each in candidates}
        total = sum(each.load for each in candidates)
        bound = ceil(_SLACK * (total + 1) / len(candidates))
        for address in _around(tuple(sorted(by_address)), affinity):
            if by_address[address].load < bound:
                return by_address[address]
        return self._least_load.pick(candidates, None)


def _around(addresses: tuple[str, ...], affinity: bytes) -> Iterator[str]:
    """Each address once, from the key's place on the ring on."""
    ring = _ring(addresses)
    start = bisect(ring, (_point(affinity), ""))
    seen: set[str] = set()
    for step in range(len(ring)):
        address = ring[(start + step) % len(ring)][1]
        if address not in seen:
            seen.add(address)
            yield address


@lru_cache(maxsize=_RINGS)
def _ring(addresses: tuple[str, ...]) -> Sequence[tuple[int, str]]:
    """For those that have room: of those that stay, most keep their keys."""
    return sorted(point for address in addresses for point in _points(address))


@lru_cache(maxsize=_MOST_WORKERS)
def _points(address: str) -> Sequence[tuple[int, str]]:
    return [(_point(f"{address}#{number}".encode()), address) for number in range(_POINTS_PER_WORKER)]


def _point(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
