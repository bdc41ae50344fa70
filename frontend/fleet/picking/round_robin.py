"""One after the other."""

from __future__ import annotations

from collections.abc import Sequence

from frontend.fleet.picking.base import Chosen


class RoundRobin:
    """Implements Policy."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        self._turn += 1
        return candidates[self._turn % len(candidates)]
