"""One after the other."""

from __future__ import annotations

from collections.abc import Sequence

from frontend.fleet.picking.base import Chosen

# Workers that have gone are forgotten together.
_MOST_KNOWN = 4096


class RoundRobin:
    """Implements Policy: whoever was asked longest ago, so that models do not disturb each other's turns."""

    def __init__(self) -> None:
        self._turn = 0
        self._last: dict[str, int] = {}

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        if len(self._last) > _MOST_KNOWN:
            self._last.clear()
        chosen = min(candidates, key=lambda each: self._last.get(each.address, 0))
        self._turn += 1
        self._last[chosen.address] = self._turn
        return chosen
