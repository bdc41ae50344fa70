"""Decisions of a worker that dies, and of clients that leave or wait."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.chaos.fleet import MODEL, Fleet, is_idle, running_fleet
from tests.support.waiting import until

# A question takes a second.
SLOW = (
    "--sim-prefill-tokens-per-second",
    "150",
    "--sim-decode-step-base-ms",
    "1",
    "--sim-running-limit",
    "1",
)
_DEADLINE_SECONDS = 30.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=2, worker_flags=SLOW) as running:
        yield running


def _body(number: int) -> dict[str, object]:
    """A state of its own: no cached prefix makes it short."""
    questions = {
        name: {"type": "choice", "instructions": name, "criteria": {"a": None, "b": None, "c": None}}
        for name in ("first", "second", "third")
    }
    return {"model": MODEL, "state": f"{number} " + f"sheep{number} " * 60, "questions": questions}


async def _decide(client: httpx.AsyncClient, number: int) -> object:
    answer = await client.post("/v1/systemone", json=_body(number))
    assert answer.status_code == 200, answer.text
    return answer.json()["answers"]


async def test_clients_that_leave_free_the_slots_for_those_that_wait(fleet: Fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url(), timeout=_DEADLINE_SECONDS) as client:
        leaving = [asyncio.create_task(_decide(client, number)) for number in range(2)]
        await until(lambda: min(map(fleet.running, (0, 1))) == 1, _DEADLINE_SECONDS, "both workers are busy")
        waiting = asyncio.create_task(client.post("/v1/systemone", json=_body(2)))
        for task in leaving:
            task.cancel()
        assert (await waiting).status_code == 200
    await until(lambda: is_idle(fleet, [0, 1]), _DEADLINE_SECONDS, "no slot is left behind")


async def test_a_killed_worker_s_decision_comes_from_the_other_one(fleet: Fleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url(), timeout=_DEADLINE_SECONDS) as client:
        expected = await _decide(client, 7)
        asking = asyncio.create_task(_decide(client, 8))
        await until(lambda: bool(fleet.running(0) + fleet.running(1)), _DEADLINE_SECONDS, "it runs")
        victim = next(number for number in (0, 1) if fleet.running(number))
        fleet.workers[victim].signal(signal.SIGKILL)
        answered = await asking
        assert await _decide(client, 7) == expected
        assert await _decide(client, 8) == answered
    assert '"retries":1' in fleet.frontends[0].log_text().replace(" ", "")
