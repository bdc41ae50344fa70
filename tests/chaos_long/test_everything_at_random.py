"""Several frontends under load, while workers and frontends are killed, stopped, drained and restarted."""

from __future__ import annotations

import random
from pathlib import Path

from tests.chaos.fleet import running_fleet
from tests.chaos_long.havoc import Havoc
from tests.chaos_long.leftovers import Memory, check_nothing_left
from tests.chaos_long.tally import Tally, failovers
from tests.chaos_long.traffic import ENGINE, Traffic, known_cases, write_scripts

_WORKERS = 4
_FRONTENDS = 3
_CLIENTS = 30
_LONGEST_GAP_SECONDS = 30.0
# With two workers away the queues are full at times.
_ROOM = ("--sim-running-limit", "6", "--drain-grace-seconds", "1")
_QUEUE = ("--max-queue", "3")


async def test_everything_at_random(
    tmp_path: Path, tally: Tally, dice: random.Random, seconds: float
) -> None:
    flags = (*ENGINE, *_ROOM, *write_scripts(tmp_path))
    with running_fleet(tmp_path, _WORKERS, _FRONTENDS, flags, _QUEUE) as fleet:
        known = await known_cases(fleet.url())
        before = Memory.of(fleet)
        havoc = Havoc(fleet, dice)
        urls = [fleet.url(number) for number in range(_FRONTENDS)]
        traffic = Traffic(urls, known, dice, tally, havoc.was_killed)
        traffic.start(_CLIENTS)
        await havoc.run(seconds)
        await traffic.stop()
        tally.failovers = failovers(tmp_path)
        tally.notes.append(", ".join(f"{name}: {count}" for name, count in havoc.happened.items()))
        tally.check()
        after = await check_nothing_left(fleet, before)
        tally.notes.append(f"memory before: {before}; after: {after}")

    assert tally.failovers > 0
    assert tally.longest_gap_seconds < _LONGEST_GAP_SECONDS
