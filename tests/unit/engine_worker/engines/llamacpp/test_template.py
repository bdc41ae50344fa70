"""Capabilities of chat templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.thinking import to_json
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.template import ChatTemplate, read_template

Render = Callable[[list[Mapping[str, str]], bool], str]


class Llama:
    """Renders as `render` says, which is given the messages and whether thinking is allowed."""

    def __init__(self, render: Render, *abilities: str) -> None:
        self._render = render
        self._abilities = abilities

    async def template_abilities(self) -> Mapping[str, bool]:
        known = ("supports_tools", "supports_tool_calls", "supports_reasoning_effort")
        return {name: name in self._abilities for name in known}

    async def end_token(self) -> int | None:
        return None

    async def apply_template(self, turn: JsonObject) -> str:
        arguments = cast(Mapping[str, bool], turn.get("chat_template_kwargs", {}))
        messages = cast("list[Mapping[str, str]]", turn["messages"])
        return self._render(messages, arguments.get("enable_thinking", True))


def _plain(messages: list[Mapping[str, str]], may_think: bool) -> str:
    return "|".join(message["content"] for message in messages) + "|assistant|"


def _may_think(messages: list[Mapping[str, str]], may_think: bool) -> str:
    if len(messages) == 1:
        return f"{messages[0]['content']}|assistant|" + ("" if may_think else "<t></t>")
    reasoning, content = messages[1]["reasoning_content"], messages[1]["content"]
    return f"{messages[0]['content']}|assistant|<t>{reasoning}</t> {content}"


def _always_thinks(messages: list[Mapping[str, str]], may_think: bool) -> str:
    return _may_think(messages, True) + ("<t>" if len(messages) == 1 else "")


def _refuses(messages: list[Mapping[str, str]], may_think: bool) -> str:
    if len(messages) > 1:
        raise InvalidRequest("no assistants, please")
    return "prompt"


async def test_a_plain_template_has_no_capabilities() -> None:
    assert await read_template(Llama(_plain)) == ChatTemplate()


@pytest.mark.parametrize(
    ("abilities", "expected"),
    [
        (["supports_tools", "supports_tool_calls"], True),
        (["supports_tools"], False),
        (["supports_tool_calls"], False),
    ],
)
async def test_tools_can_be_shown_and_calls_remembered(abilities: list[str], expected: bool) -> None:
    assert (await read_template(Llama(_plain, *abilities))).tools is expected


async def test_thinking_that_can_be_switched_off() -> None:
    assert await read_template(Llama(_may_think)) == ChatTemplate(
        thinking=True, can_stop_thinking=True, before_thinking="<t>", after_thinking="</t> "
    )


@pytest.mark.parametrize(
    ("template", "family", "values"),
    [
        (ChatTemplate(), "qwen3", None),
        (ChatTemplate(thinking=True, can_stop_thinking=True), "qwen3", [False, True]),
        (ChatTemplate(thinking=True), "deepseek2", [True]),
        (ChatTemplate(thinking=True, takes_effort=True), "gpt-oss", ["low", "medium", "high"]),
        (ChatTemplate(thinking=True, takes_effort=True), "other", None),
    ],
)
def test_the_values_of_think(template: ChatTemplate, family: str, values: list[Json] | None) -> None:
    thinking = template.thinking_values(family)
    assert (None if thinking is None else to_json(thinking)["values"]) == values


async def test_thinking_that_the_prompt_begins() -> None:
    template = await read_template(Llama(_always_thinks, "supports_reasoning_effort"))

    assert template == ChatTemplate(
        thinking=True, takes_effort=True, after_thinking="</t> ", opens_thinking=True
    )


async def test_a_template_that_refuses_the_question_keeps_its_tools() -> None:
    template = await read_template(Llama(_refuses, "supports_tools", "supports_tool_calls"))

    assert template == ChatTemplate(tools=True)
