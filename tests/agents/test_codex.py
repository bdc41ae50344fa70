"""Tools of Codex that are no functions in its requests, and the provider that tries a websocket."""

from __future__ import annotations

from typing import cast

import pytest

from drover.json_value import Json
from tests.agents.conftest import Start
from tests.agents.programs import Agent, Wire
from tests.agents.programs.codex import Codex, CodexKnown, CodexLite, CodexOpenAI
from tests.agents.runs import Run
from tests.agents.task import (
    CLOSE_QUESTION,
    DONE,
    OUT,
    PATCH_QUESTION,
    SEARCH_QUESTION,
    SLEEP_QUESTION,
    WRITTEN,
    question,
)

# What Codex answers to a call in a form that it does not understand.
_NOT_RUN = ("unsupported call", "aborted")


def _items(run: Run) -> list[dict[str, Json]]:
    """The input of the last request."""
    body = cast("dict[str, Json]", run.wire.posts(run.agent.route)[-1].json)
    return cast("list[dict[str, Json]]", body["input"])


def _calls(run: Run) -> list[tuple[Json, ...]]:
    """Type, namespace and name of each call, and the type of its output, which must tell that it ran."""
    items = _items(run)
    outputs = {item["call_id"]: item for item in items if str(item["type"]).endswith("_output")}
    calls = [item for item in items if str(item["type"]).endswith("_call")]
    for call in calls:
        output = str(outputs[call["call_id"]].get("output", ""))
        assert not output.startswith(_NOT_RUN), (call, output)
    return [
        (call["type"], call.get("namespace"), call.get("name"), outputs[call["call_id"]]["type"])
        for call in calls
    ]


async def test_a_patch_is_plain_text(start: Start) -> None:
    async with start(CodexKnown(Wire.RESPONSES), PATCH_QUESTION) as run:
        assert await run.end() == 0, run.output

    assert (run.desk.project / OUT).read_text() == WRITTEN
    assert _calls(run) == [("custom_tool_call", None, "apply_patch", "custom_tool_call_output")]


async def test_tools_that_a_search_found_are_called(start: Start) -> None:
    async with start(CodexKnown(Wire.RESPONSES), SEARCH_QUESTION) as run:
        assert await run.end() == 0, run.output

    assert _calls(run) == [
        ("tool_search_call", None, None, "tool_search_output"),
        ("function_call", "multi_agent_v1", "close_agent", "function_call_output"),
    ]


@pytest.mark.parametrize(
    ("agent", "asked", "namespace", "name"),
    [
        (Codex(Wire.RESPONSES), CLOSE_QUESTION, "multi_agent_v1", "close_agent"),
        (CodexLite(Wire.RESPONSES), SLEEP_QUESTION, "clock", "sleep"),
    ],
)
async def test_a_tool_in_a_namespace_is_called_in_it(
    start: Start, agent: Agent, asked: str, namespace: str, name: str
) -> None:
    async with start(agent, asked) as run:
        assert await run.end() == 0, run.output

    assert _calls(run) == [("function_call", namespace, name, "function_call_output")]


async def test_a_websocket_is_tried_once(start: Start) -> None:
    agent = CodexOpenAI(Wire.RESPONSES)
    async with start(agent, question(agent, "loop")) as run:
        assert await run.end() == 0, run.output

    assert DONE in run.stdout, run.output
    handshakes = [sent for sent in run.wire.sent if "sec-websocket-key" in sent.headers]
    assert [sent.path for sent in handshakes] == ["/v1/responses"]
