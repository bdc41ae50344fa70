"""Everything is restarted, one after the other, under clients that try again only where no server listens."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

from tests.chaos.fleet import Fleet, joins, running_fleet, until_joins
from tests.chaos_long.leftovers import Memory, check_nothing_left
from tests.chaos_long.tally import Tally, failovers
from tests.chaos_long.traffic import ENGINE, Traffic, known_cases, write_scripts

_ROUNDS = 2
_CLIENTS = 16
_BETWEEN_SECONDS = 1.0
_EXIT_SECONDS = 40.0
_DEADLINE_SECONDS = 20.0


async def test_a_rolling_restart_of_everything(tmp_path: Path, tally: Tally, dice: random.Random) -> None:
    """The grace (30 s on both tiers) exceeds the longest stream: nothing is lost, and nothing refused."""
    with running_fleet(tmp_path, 3, 2, (*ENGINE, *write_scripts(tmp_path))) as fleet:
        known = await known_cases(fleet.url())
        before = Memory.of(fleet)
        traffic = Traffic([fleet.url(0), fleet.url(1)], known, dice, tally)
        traffic.start(_CLIENTS)
        for _ in range(_ROUNDS):
            for number in range(len(fleet.workers)):
                await _restart_worker(fleet, number)
            for number in range(len(fleet.frontends)):
                await _restart_frontend(fleet, number)
        await traffic.stop()
        tally.failovers = failovers(tmp_path)
        tally.check()
        await check_nothing_left(fleet, before)

    assert tally.refused == 0
    assert tally.lost_with_frontend == 0


async def _restart_worker(fleet: Fleet, number: int) -> None:
    """The next one goes when all frontends have this one back."""
    joined = [joins(each) for each in fleet.frontends]
    fleet.workers[number].signal(signal.SIGTERM)
    assert await asyncio.to_thread(fleet.workers[number].wait, _EXIT_SECONDS) == 0
    await asyncio.to_thread(fleet.restart_worker, number)
    for front, earlier in zip(fleet.frontends, joined, strict=True):
        await until_joins(front, earlier + 1, _DEADLINE_SECONDS)
    await asyncio.sleep(_BETWEEN_SECONDS)


async def _restart_frontend(fleet: Fleet, number: int) -> None:
    fleet.frontends[number].signal(signal.SIGTERM)
    assert await asyncio.to_thread(fleet.frontends[number].wait, _EXIT_SECONDS) == 0
    await asyncio.to_thread(fleet.restart_frontend, number)
    await asyncio.sleep(_BETWEEN_SECONDS)
