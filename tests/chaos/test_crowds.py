"""Overload: refusals are immediate, and greedy or slow clients do not affect others."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import psutil

from tests.chaos.clients import Crowd, body, stream
from tests.chaos.fleet import Fleet, is_idle, running_fleet
from tests.fakes.http_server import RawClient
from tests.support.waiting import until

_DEADLINE_SECONDS = 20.0
_ANSWERS = ("--sim-answer-tokens-min", "5000", "--sim-answer-tokens-max", "5000")
_TWO_AT_A_TIME = ("--sim-running-limit", "2", "--sim-decode-step-base-ms", "10", *_ANSWERS)


async def test_ten_times_the_queue_is_answered_or_refused(tmp_path: Path) -> None:
    flags = ("--max-queue", "20")
    with running_fleet(tmp_path, workers=2, worker_flags=_TWO_AT_A_TIME, frontend_flags=flags) as fleet:
        crowd = Crowd(fleet.url())
        crowd.send([body(f"herd {number}", 20) for number in range(200)])
        seen = await crowd.all_seen()
        await until(lambda: is_idle(fleet, [0, 1]), _DEADLINE_SECONDS, "no slot is left behind")

    statuses = Counter(each.status for each in seen)
    assert set(statuses) == {200, 503}
    # Two run and one waits at each worker, and twenty wait in the frontend; some more go while they arrive.
    assert statuses[200] >= 26
    assert all(each.is_whole for each in seen if each.status == 200)
    busy = "server busy, please try again.  maximum pending requests exceeded"
    assert {each.error for each in seen if each.status == 503} == {busy}


async def test_a_greedy_client_does_not_starve_a_modest_one(tmp_path: Path) -> None:
    flags = ("--trusted-proxies", "127.0.0.1")
    with running_fleet(tmp_path, workers=1, worker_flags=_TWO_AT_A_TIME, frontend_flags=flags) as fleet:
        greedy = Crowd(fleet.url())
        greedy.client.headers["x-forwarded-for"] = "192.0.2.1"
        greedy.send([body(f"mine {number}", 60) for number in range(60)])
        await until(lambda: fleet.running(0) >= 3, _DEADLINE_SECONDS, "the worker is full")
        async with httpx.AsyncClient(base_url=fleet.url(), timeout=60, trust_env=False) as modest:
            modest.headers["x-forwarded-for"] = "192.0.2.2"
            began = asyncio.get_running_loop().time()
            seen = await stream(modest, body("just one", 10))
            took = asyncio.get_running_loop().time() - began
        left = sum(not task.done() for task in greedy.tasks)
        for task in greedy.tasks:
            task.cancel()
        await asyncio.wait(greedy.tasks)
        await greedy.client.aclose()

    assert seen.is_whole
    # Its turn comes after those that run and one more, of some fifty.
    assert left > 40, took


async def test_a_queue_full_of_one_client_has_room_for_another(tmp_path: Path) -> None:
    flags = ("--trusted-proxies", "127.0.0.1", "--max-queue", "10")
    with running_fleet(tmp_path, workers=1, worker_flags=_TWO_AT_A_TIME, frontend_flags=flags) as fleet:
        greedy = Crowd(fleet.url())
        greedy.client.headers["x-forwarded-for"] = "192.0.2.1"
        greedy.send([body(f"mine {number}", 40) for number in range(40)])
        await until(lambda: fleet.running(0) >= 3, _DEADLINE_SECONDS, "the worker is full")
        async with httpx.AsyncClient(base_url=fleet.url(), timeout=60, trust_env=False) as modest:
            modest.headers["x-forwarded-for"] = "192.0.2.2"
            seen = await stream(modest, body("just one", 10))
        others = await greedy.all_seen()
        await until(lambda: is_idle(fleet, [0]), _DEADLINE_SECONDS, "no slot is left behind")

    assert seen.is_whole, seen
    assert {each.status for each in others} == {200, 503}
    assert all(each.is_whole for each in others if each.status == 200)


async def test_a_client_that_stops_reading_costs_little_memory_and_slows_no_other(tmp_path: Path) -> None:
    endless = ("--sim-decode-step-base-ms", "1", "--sim-decode-step-per-running-ms", "0")
    answers = ("--sim-answer-tokens-min", "400000", "--sim-answer-tokens-max", "400000")
    with running_fleet(tmp_path, workers=1, worker_flags=(*endless, *answers)) as fleet:
        before = _memory(fleet)
        slow = [
            await RawClient.post(_port(fleet), "/api/chat", body(f"slow {n}", 300_000), receive_buffer=4096)
            for n in range(8)
        ]
        for client in slow:
            await client.read_until(b"\n")
            client.stop_reading()
        async with httpx.AsyncClient(base_url=fleet.url(), timeout=60, trust_env=False) as http:
            seen = [await stream(http, body(f"quick {number}", 500)) for number in range(6)]
        grown = _memory(fleet) - before
        for client in slow:
            client.leave()
        await until(lambda: is_idle(fleet, [0]), _DEADLINE_SECONDS, "their slots are free")

    assert all(each.is_whole for each in seen)
    assert max(each.longest_gap_seconds for each in seen) < 1.0
    assert grown < 100e6


def _port(fleet: Fleet) -> int:
    return int(fleet.frontends[0].address.rpartition(":")[2])


def _memory(fleet: Fleet) -> int:
    """Memory of both tiers in bytes."""
    processes = [*fleet.workers, *fleet.frontends]
    return sum(psutil.Process(each.pid).memory_info().rss for each in processes)
