"""A model that is not served: the agent says so and ends, and does not ask for minutes."""

from __future__ import annotations

from tests.agents.conftest import Start
from tests.agents.programs import Agent
from tests.agents.task import question

_SECONDS = 30.0


async def test_an_agent_ends_at_once_where_there_is_no_such_model(start: Start, agent: Agent) -> None:
    async with start(agent, question(agent, "loop"), model="absent") as run:
        status = await run.end(_SECONDS)

    assert status != 0
    assert "absent" in run.output
    assert run.wire.sent
    assert run.requests <= agent.most_tries + agent.side_requests
    print(f"{agent.name}: {run.requests} requests in {run.seconds:.1f} s")  # noqa: T201
