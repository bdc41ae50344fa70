"""One of two workers is killed in mid-answer; the agent finishes its task as if nothing had been."""

from __future__ import annotations

import signal

import pytest

from tests.agents.conftest import Start, finishes, has_answered
from tests.agents.programs import Agent
from tests.agents.task import WORDS, question
from tests.chaos.fleet import Fleet, joins, until_joins

_JOIN_SECONDS = 30.0


@pytest.mark.parametrize("kind", ["slow answer", "slow call"])
async def test_an_agent_finishes_although_its_worker_is_killed(
    fleet: Fleet, start: Start, agent: Agent, kind: str
) -> None:
    front = fleet.frontends[0]
    before, joined = len(front.log_text()), joins(front)
    async with start(agent, question(agent, kind)) as run:
        await has_answered(run, WORDS[5])
        (victim,) = (number for number in (0, 1) if fleet.running(number))
        fleet.workers[victim].signal(signal.SIGKILL)
        try:
            await finishes(run, kind)
        finally:
            fleet.restart_worker(victim)
            await until_joins(front, joined + 1, _JOIN_SECONDS)
    assert '"failovers":1' in front.log_text()[before:]
