"""A tool of Claude Code that the model has to search for before it knows what it takes."""

from __future__ import annotations

from tests.agents.conftest import Start
from tests.agents.programs import Wire
from tests.agents.programs.claude_code import ClaudeCode
from tests.agents.task import DONE, LATE_QUESTION


async def test_a_tool_that_was_searched_for_can_be_called(start: Start) -> None:
    async with start(ClaudeCode(Wire.MESSAGES), LATE_QUESTION) as run:
        status = await run.end()

    assert status == 0, run.output
    assert DONE in run.stdout, run.output
    assert run.requests == 3
