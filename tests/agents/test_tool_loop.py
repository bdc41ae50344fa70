"""A task that takes two rounds of tool calls, the second with two parallel ones."""

from __future__ import annotations

import pytest

from tests.agents.conftest import Start, by_name
from tests.agents.programs import AGENTS, OTHER_WIRES, Agent
from tests.agents.task import DONE, OUT, WRITTEN, note, question, second_result


@pytest.mark.parametrize("agent", [*AGENTS, *OTHER_WIRES], ids=by_name)
async def test_an_agent_does_its_task(start: Start, agent: Agent) -> None:
    async with start(agent, question(agent, "loop")) as run:
        status = await run.end()

    assert status == 0, run.output
    assert (run.desk.project / OUT).read_text() == WRITTEN
    assert DONE in run.stdout, run.output
    assert run.requests == 3 + agent.side_requests
    last = run.wire.posts(agent.route)[-1].body.decode()
    assert note(agent) in last
    assert second_result(agent) in last
    print(f"{agent.name}: {run.seconds:.1f} s; other hosts: {sorted(run.refusal.hosts)}")  # noqa: T201
