"""Codex with a conversation that becomes too long: it is compacted, and the task is finished."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from tests.agents.conftest import Start, by_name
from tests.agents.programs import COMPACTING, Agent
from tests.agents.programs.codex import CodexRemote
from tests.agents.runs import Run
from tests.agents.task import DONE, SUMMARY, question, second_result

Items = Sequence[Mapping[str, Any]]


@pytest.mark.parametrize("agent", COMPACTING, ids=by_name)
async def test_a_conversation_is_compacted_and_continues(start: Start, agent: Agent) -> None:
    async with start(agent, question(agent, "long")) as run:
        status = await run.end()

    assert status == 0, run.output
    assert DONE in run.stdout, run.output
    assert run.requests == 4
    last = _input(run, -1)
    if isinstance(agent, CodexRemote):
        assert _input(run, 2)[-1] == {"type": "compaction_trigger"}
        (item,) = (item for item in last if item["type"] == "compaction")
        assert json.loads(item["encrypted_content"])["summary"] == SUMMARY
    else:
        assert SUMMARY in json.dumps(last[-1])
    # What was compacted is not sent again.
    assert second_result(agent) not in json.dumps(last)


def _input(run: Run, number: int) -> Items:
    body = cast("Mapping[str, Items]", run.wire.posts(run.agent.route)[number].json)
    return body["input"]
