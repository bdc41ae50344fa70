"""Hash ring: each key belongs to the next point, so most keys keep their owner when an address goes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

_POINTS_PER_ADDRESS = 64
_MAX_CACHED = 4096


class Ring:
    """Immutable."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self.addresses = frozenset(addresses)
        points = sorted(point for address in self.addresses for point in _points(address))
        self._points = [point for point, _ in points]
        self.owners: Sequence[str] = [address for _, address in points]
        """Address of each point, in the order of the points."""
        self._indexes: dict[str, list[int]] = {address: [] for address in self.addresses}
        for index, address in enumerate(self.owners):
            self._indexes[address].append(index)

    def points_of(self, address: str) -> Sequence[int]:
        """Indexes of the address's points."""
        return self._indexes[address]

    def start(self, key: bytes) -> int:
        """Index of the first point that is not before the key; the number of points if there is none."""
        return bisect_left(self._points, _point(key))


@lru_cache(maxsize=_MAX_CACHED)
def _points(address: str) -> Sequence[tuple[int, str]]:
    return [(_point(f"{address}#{number}".encode()), address) for number in range(_POINTS_PER_ADDRESS)]


def _point(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
