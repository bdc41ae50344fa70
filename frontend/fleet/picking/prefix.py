"""Requests whose prompts begin alike go to one worker, as long as that is fair: consistent hashing with
bounded loads. All frontends pick alike without talking to each other.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from math import ceil

from frontend.fleet.picking.base import Chosen
from frontend.fleet.picking.least_load import LeastLoad

# A worker may have a quarter more than its even share before the next one on the ring is asked.
_SLACK = 1.25
_POINTS_PER_WORKER = 64


class Prefix:
    """Implements Policy. What has no affinity goes where the load is least."""

    def __init__(self) -> None:
        self._least_load = LeastLoad()
        self._members: tuple[str, ...] = ()
        self._ring: list[tuple[int, str]] = []

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        if affinity is None or len(candidates) == 1:
            return self._least_load.pick(candidates, None)
        by_address = {each.address: each for each in candidates}
        total = sum(each.load for each in candidates)
        bound = ceil(_SLACK * (total + 1) / len(candidates))
        for address in self._around(tuple(sorted(by_address)), affinity):
            if by_address[address].load < bound:
                return by_address[address]
        return self._least_load.pick(candidates, None)

    def _around(self, addresses: tuple[str, ...], affinity: bytes) -> Iterator[str]:
        """Each address once, from the key's place on the ring on."""
        self._know(addresses)
        start = bisect(self._ring, (_point(affinity), ""))
        ring = self._ring
        walk = (ring[(start + step) % len(ring)][1] for step in range(len(ring)))
        return islice(dict.fromkeys(walk), len(addresses))

    def _know(self, addresses: tuple[str, ...]) -> None:
        """A ring for those that are here: of those that stay, most keep their keys."""
        if addresses != self._members:
            self._members = addresses
            self._ring = sorted(
                (_point(f"{address}#{number}".encode()), address)
                for address in addresses
                for number in range(_POINTS_PER_WORKER)
            )


def _point(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
