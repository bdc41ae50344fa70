"""A worker is killed in mid-answer; the agent finishes its task as if nothing had been."""

from __future__ import annotations

import signal

import pytest

from tests.agents.conftest import Start, has_answered
from tests.agents.programs import Agent
from tests.agents.task import DONE, OUT, WORDS, WRITTEN, question
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
        status = await run.end()
    log = front.log_text()[before:]
    fleet.restart_worker(victim)
    await until_joins(front, joined + 1, _JOIN_SECONDS)

    assert status == 0, run.output
    assert '"moves":1' in log
    if kind == "slow answer":
        assert [word for word in run.stdout.split() if word in WORDS] == [*WORDS]
        assert run.requests == 1 + agent.side_requests
    else:
        assert (run.desk.project / OUT).read_text() == WRITTEN
        assert DONE in run.stdout, run.output
        assert run.requests == 2 + agent.side_requests
