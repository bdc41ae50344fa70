"""The less loaded of two that chance takes: nearly as even as looking at all, and no herd."""

from __future__ import annotations

import random
from collections.abc import Sequence

from frontend.fleet.picking.base import Chosen
from frontend.fleet.picking.least_load import burden


class PowerOfTwo:
    """Implements Policy."""

    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        return min(random.sample(candidates, min(2, len(candidates))), key=burden)
