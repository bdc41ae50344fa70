"""What tests of the fleet share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.played_exchange import PlayedWorker
from tests.unit.frontend.routing.delivering import Pair, pairing


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with pairing(PlayedWorker()) as pair:
        yield pair
