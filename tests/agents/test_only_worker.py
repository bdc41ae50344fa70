"""The only worker is killed in mid-answer and comes back: the request waits for it, and no agent notices."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.agents.conftest import Start, finishes, has_answered
from tests.agents.programs import Agent
from tests.agents.task import WORDS, question
from tests.chaos.fleet import Fleet

# As a supervisor takes to start it again.
_AWAY_SECONDS = 2.0


@pytest.fixture(scope="module")
def workers() -> int:
    return 1


@pytest.mark.parametrize("kind", ["slow answer", "slow call"])
async def test_an_agent_finishes_although_its_only_worker_is_killed(
    fleet: Fleet, start: Start, agent: Agent, kind: str
) -> None:
    async with start(agent, question(agent, kind)) as run:
        await has_answered(run, WORDS[5])
        fleet.workers[0].signal(signal.SIGKILL)
        await asyncio.sleep(_AWAY_SECONDS)
        await asyncio.to_thread(fleet.restart_worker, 0)
        await finishes(run, kind)
