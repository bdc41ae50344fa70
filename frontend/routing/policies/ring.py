"""Addresses on a ring: each key goes to the next point on it, so that most keys stay when an address goes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

_POINTS_PER_ADDRESS = 64
_MOST_KEPT = 4096


class Ring:
    """Never changed: another one takes its place."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self.addresses = frozenset(addresses)
        points = sorted(point for address in self.addresses for point in _points(address))
        self._points = [point for point, _ in points]
        self.owners: Sequence[str] = [address for _, address in points]
        """Of the points, in their order."""
        self._places: dict[str, list[int]] = {address: [] for address in self.addresses}
        for place, address in enumerate(self.owners):
            self._places[address].append(place)

    def places(self, address: str) -> Sequence[int]:
        """Of its points."""
        return self._places[address]

    def start(self, key: bytes) -> int:
        """The first point that is not before the key; as many as there are points where that is none."""
        return bisect_left(self._points, _point(key))


@lru_cache(maxsize=_MOST_KEPT)
def _points(address: str) -> Sequence[tuple[int, str]]:
    return [(_point(f"{address}#{number}".encode()), address) for number in range(_POINTS_PER_ADDRESS)]


def _point(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
