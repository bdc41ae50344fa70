"""Agents that look at image files whatever the model is: one that cannot see does not end their session."""

from __future__ import annotations

import pytest

from tests.agents.conftest import Start
from tests.agents.programs import Agent, Wire
from tests.agents.programs.claude_code import ClaudeCode
from tests.agents.programs.codex import Codex
from tests.agents.task import DONE, PICTURE_QUESTIONS

_LOOKING = zip((ClaudeCode(Wire.MESSAGES), Codex(Wire.RESPONSES)), PICTURE_QUESTIONS, strict=True)


@pytest.mark.parametrize(("agent", "question"), [*_LOOKING])
async def test_a_model_that_cannot_see_continues(start: Start, agent: Agent, question: str) -> None:
    async with start(agent, question) as run:
        status = await run.end()

    assert status == 0, run.output
    assert DONE in run.stdout, run.output
    assert run.requests == 2
