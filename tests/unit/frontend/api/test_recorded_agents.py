"""Requests of Claude Code 2.1.332 and Codex 0.171.0 as they sent them, shortened, without personal details.

`make test-agents AGENT_RECORDS=folder` keeps whole ones.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker, content, default_model, done, started
from tests.unit.frontend.api.conftest import Start

_FOLDER = Path(__file__).parent / "recorded_agents"
_ROUTES = {"claude": "/v1/messages?beta=true", "codex": "/v1/responses"}
_ALL = sorted(path.stem for path in _FOLDER.glob("*.json"))


async def _asked(start: Start, name: str) -> pb.GenerateRequest:
    """What the worker gets of a recorded request."""
    body = {**json.loads((_FOLDER / f"{name}.json").read_text()), "model": "m"}
    model = default_model()
    model.capabilities.tools = model.capabilities.thinking = True
    async with start(StallingWorker(described=model, steps=[started(), content("a"), done()])) as frontend:
        answer = await frontend.client.post(_ROUTES[name.partition("_")[0]], json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/event-stream"
        return (await frontend.handle()).request


def _roles(request: pb.GenerateRequest) -> list[str]:
    return [message.role for message in request.chat.messages]


async def test_claude_code_begins_with_two_system_prompts_around_the_question(start: Start) -> None:
    request = await _asked(start, "claude_code_first")
    system, question, late = request.chat.messages

    assert _roles(request) == ["system", "user", "system"]
    assert system.content.startswith("You are a Claude agent")
    assert "x-anthropic-billing-header" not in system.content
    assert question.content.startswith("<system-reminder>\n")
    assert question.content.endswith("\nThis is the loop task of claude-code.")
    assert late.content.startswith("# Environment\n")
    assert request.sampling.max_tokens == 32_000
    assert request.think == pb.Think(mode=pb.Think.ON, level="high")


async def test_the_prompt_of_claude_codes_next_request_begins_with_that_of_the_first(start: Start) -> None:
    """Although the second system message is a list of blocks in the one and a text in the others."""
    first, later = await _asked(start, "claude_code_first"), await _asked(start, "claude_code_loop")

    assert [*later.chat.messages[:3]] == [*first.chat.messages]
    assert [*later.chat.tools] == [*first.chat.tools]


async def test_results_of_claude_codes_tools_are_paired_with_their_calls(start: Start) -> None:
    request = await _asked(start, "claude_code_loop")
    one, result, two, *results = request.chat.messages[3:]

    assert [one.role, result.role, two.role] == ["assistant", "tool", "assistant"]
    assert one.content == "I look. "
    assert json.loads(one.tool_calls[0].arguments_json)["command"] == "cat notes.txt"
    assert (result.tool_name, result.content) == ("Bash", "note-of-claude-code-7421")
    assert [each.tool_call_id for each in results] == [call.id for call in two.tool_calls]
    assert [each.content for each in results] == [
        "(Bash completed with no output)",
        "second-of-claude-code-1108",
    ]


async def test_claude_codes_late_tools_stay_out_of_the_list_and_are_defined_where_they_were_found(
    start: Start,
) -> None:
    request = await _asked(start, "claude_code_late_tools")
    found = request.chat.messages[4]

    listed = [tool.name for tool in request.chat.tools if not tool.unlisted]
    assert listed == ["Bash", "Read", "ToolSearch"]
    assert found.role == "tool"
    assert found.content.count("<function>") == 2
    assert "CronList" in found.content
    assert "TaskStop" in found.content


async def test_a_system_message_may_follow_the_results_of_claude_codes_tools(start: Start) -> None:
    request = await _asked(start, "claude_code_late_system")

    assert _roles(request)[-3:] == ["assistant", "tool", "system"]
    assert request.chat.messages[-1].content.startswith("The following deferred tools are now available")


async def test_results_that_claude_code_sends_as_they_finish_follow_their_calls(start: Start) -> None:
    request = await _asked(start, "claude_code_late_tools")
    asked, *results = request.chat.messages[-6:]

    assert [call.name for call in asked.tool_calls] == ["CronList", "TaskStop", "NotThere", "Bash", "Bash"]
    assert [each.tool_call_id for each in results] == [call.id for call in asked.tool_calls]
    assert results[0].content == "No scheduled jobs."
    assert results[3].content == "bravo"


async def test_codex_sends_developer_messages_and_results_with_its_items(start: Start) -> None:
    request = await _asked(start, "codex_loop")

    before = ["system", "system", "user", "user"]
    assert _roles(request) == [*before, "assistant", "tool", "assistant", "tool", "tool"]
    asked, result, two, *results = request.chat.messages[4:]
    assert asked.content == "I look. "
    assert [call.name for call in asked.tool_calls] == ["exec_command"]
    assert result.tool_call_id == asked.tool_calls[0].id
    assert result.content.endswith("note-of-codex-7421\n")
    assert [each.tool_call_id for each in results] == [call.id for call in two.tool_calls]


async def test_codex_offers_its_functions_and_those_of_its_namespaces(start: Start) -> None:
    offered = [tool.name for tool in (await _asked(start, "codex_loop")).chat.tools]

    assert offered[0] == "exec_command"
    assert any(name.startswith("multi_agent_v1.") for name in offered)
    assert all(offered)


async def test_codex_with_a_model_name_that_it_knows_sends_its_tools_as_an_item(start: Start) -> None:
    request = await _asked(start, "codex_lite")

    offered = [tool.name for tool in request.chat.tools]
    assert offered == [
        "exec",
        "wait",
        "clock.sleep",
        "collaboration.followup_task",
        "collaboration.interrupt_agent",
    ]
    assert request.chat.messages[-1] == pb.Message(role="user", content="Do the task.")


@pytest.mark.parametrize("name", _ALL)
async def test_every_recorded_request_is_answered(start: Start, name: str) -> None:
    request = await _asked(start, name)

    assert request.chat.messages
    assert all(tool.name for tool in request.chat.tools)
