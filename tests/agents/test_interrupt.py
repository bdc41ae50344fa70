"""Ctrl-C in mid-answer."""

from __future__ import annotations

from tests.agents.conftest import Start, has_answered
from tests.agents.programs import Agent
from tests.agents.task import WORDS, question
from tests.chaos.fleet import Fleet, is_idle
from tests.support.waiting import until

_END_SECONDS = 15.0
_FREE_SECONDS = 2.0


async def test_an_interrupted_agent_frees_its_slot(fleet: Fleet, start: Start, agent: Agent) -> None:
    front = fleet.frontends[0]
    before = len(front.log_text())
    async with start(agent, question(agent, "slow answer")) as run:
        await has_answered(run, WORDS[5])
        run.interrupt()
        freed = await until(lambda: is_idle(fleet, [0, 1]), _FREE_SECONDS, "the slot is free")
        await run.end(_END_SECONDS)

    assert WORDS[-1].encode() not in run.wire.answered
    assert '"client_left":true' in front.log_text()[before:]
    print(f"{agent.name}: its slot was free after {freed:.2f} s")  # noqa: T201
