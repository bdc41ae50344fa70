"""Fixtures of the routing tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.scripted_exchange import ScriptedWorker
from tests.unit.frontend.routing.exchange_pair import Pair, pairing


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with pairing(ScriptedWorker()) as pair:
        yield pair
