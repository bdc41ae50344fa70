"""Tools and thinking in answers to a Go template of the request."""

from __future__ import annotations

import json

import pytest

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import (
    ANSWER,
    FORMAT,
    THOUGHT,
    arguments_of,
    names_of,
    parts_of,
)
from tests.support.answers import answer_to, error_of, text_of, tokens_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient

pytestmark = pytest.mark.real_model


GO = """\
{{- if .Tools }}<|im_start|>system
Tools:{{ range .Tools }} {{ .Function.Name }}{{ end }}<|im_end|>
{{ end }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}{{ .Content }}
{{- range .ToolCalls }}
<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


@pytest.mark.parametrize("mode", [pb.Think.ON, pb.Think.OFF])
async def test_thinking_is_found_in_answers_to_a_go_template(
    engine: EngineClient, mode: pb.Think.Mode.ValueType
) -> None:
    request = chat_with()
    request.template = GO
    request.think.mode = mode
    answer = await answer_to(engine, request)
    thought = THOUGHT if mode == pb.Think.ON else ""
    assert (answer.thinking, answer.content) == (thought, ANSWER)
    assert not answer.started.not_honoured
    assert await text_of(engine, answer.ids) == f"<think>{THOUGHT}</think>{ANSWER}"


async def test_calls_are_found_in_answers_to_a_go_template(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), tool("get_news"))
    request.template = GO
    request.think.mode = pb.Think.ON
    request.tool_choice.mode = pb.ToolChoice.NAMED
    request.tool_choice.name = "get_weather"
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (THOUGHT, "")
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    prompt = await text_of(engine, list(answer.started.prompt_ids))
    assert "Tools: get_weather<|im_end|>" in prompt
    request.tool_choice.Clear()
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content, parts_of(answer)) == (THOUGHT, ANSWER, [])
    assert "Tools: get_weather get_news" in await text_of(engine, list(answer.started.prompt_ids))


async def test_a_format_holds_next_to_the_tools_of_a_go_template(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.template = GO
    request.json_schema = FORMAT
    request.sampling.logit_bias[(await tokens_of(engine, "{"))[0]] = 5.0
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content)) == (THOUGHT, {"a": "xy"})


async def test_a_go_template_without_tools_has_none(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.template = "{{ range .Messages }}{{ .Content }}{{ end }}"
    assert isinstance(await error_of(engine, request), CapabilityMissing)
