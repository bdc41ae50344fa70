"""Hosts and workers that are stopped: others do what they would have done, once they are given up."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.clients import Crowd
from tests.chaos.hosts import SECONDS, Hosts, all_whole, request, running_hosts
from tests.support.waiting import until


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Hosts]:
    with running_hosts(tmp_path) as fleet:
        yield fleet


async def test_a_host_is_stopped_in_mid_load(fleet: Hosts) -> None:
    """Its workers serve, and the other host loads what it would have loaded."""
    crowds = fleet.crowds(16)
    await until(lambda: bool(fleet.pids(0)), SECONDS, "a load is in progress")
    fleet.hosts[0].signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(SECONDS):
            await all_whole(crowds)
    finally:
        fleet.hosts[0].signal(signal.SIGCONT)
    await all_whole(fleet.crowds(8))


async def test_a_worker_that_is_stopped_for_ever_is_replaced_by_the_other_host(fleet: Hosts) -> None:
    crowd = Crowd(fleet.url())
    crowd.send([request("one")])
    await all_whole([crowd])
    (owner,) = [number for number in (0, 1) if fleet.pids(number)]
    (pid,) = fleet.pids(owner)
    os.kill(pid, signal.SIGSTOP)
    crowds = [Crowd(fleet.url(number)) for number in (0, 1)]
    for each in crowds:
        each.send([request("one")])
    try:
        await all_whole(crowds)
        assert fleet.pids(1 - owner)
    finally:
        os.kill(pid, signal.SIGCONT)
