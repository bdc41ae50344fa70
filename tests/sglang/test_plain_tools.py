"""A model whose template calls tools and does not think, on the real engine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import ollama
import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.answers import answer_to, short_json_bias, token_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import engine_client
from tests.support.processes import SMALL_CACHE, Stack, stack

# As Qwen2.5's and Hermes' templates, which SGLang's rules do not know.
TEMPLATE = """\
{%- if tools -%}
<|im_start|>system
You may call functions within <tools></tools> tags:
<tools>{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
</tools>
For each call write within <tool_call></tool_call> tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}


@pytest.fixture(scope="module")
def plain(thinker_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("plain")
    template = folder / "template.jinja"
    template.write_text(TEMPLATE)
    flags = ("--engine", "sglang", "--model", str(thinker_model), "--name", "plain", SMALL_CACHE)
    with stack(folder, (*flags, "--chat-template", str(template))) as running:
        yield running


def test_tools_reach_the_prompt(plain: Stack) -> None:
    with ollama.Client(host=plain.url, timeout=120) as client:
        assert "tools" in (client.show("plain").capabilities or ())
        assert "thinking" not in (client.show("plain").capabilities or ())
        options = {"temperature": 0, "num_predict": 4}
        bare = client.chat("plain", HI, options=options)
        offered = client.chat("plain", HI, tools=[TOOL], options=options)
    assert (offered.prompt_eval_count or 0) > (bare.prompt_eval_count or 0)


async def test_a_call_can_be_forced(plain: Stack) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    async with engine_client(plain.worker.address) as engine:
        request.sampling.logit_bias.update(await short_json_bias(engine))
        answer = await answer_to(engine, request)
    assert [call.name for call in answer.calls.values()][:1] == ["get_weather"]
    assert isinstance(json.loads(answer.calls[0].arguments_json), dict)
    assert answer.complete >= {0}
    assert answer.content == ""


async def test_a_forced_call_has_the_tools_own_arguments_and_is_never_text(plain: Stack) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    request.tool_choice.parallel = False
    async with engine_client(plain.worker.address) as engine:
        answer = await answer_to(engine, request)
        assert [call.name for call in answer.calls.values()] == ["get_weather"]
        assert json.loads(answer.calls[0].arguments_json) == {"city": "Paris"}
        assert (answer.content, answer.complete) == ("", {0})
        for most in (1, 4, 12, 20):
            request.sampling.max_tokens = most
            answer = await answer_to(engine, request)
            assert (answer.content, answer.done.finish_reason) == ("", pb.Done.LENGTH)


async def test_tools_and_a_format_are_a_call_or_the_format(plain: Stack) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.parallel = False
    request.json_schema = '{"type": "object", "properties": {"a": {"enum": ["xy"]}}, "required": ["a"]}'
    async with engine_client(plain.worker.address) as engine:
        brace, call = await token_of(engine, "{"), await token_of(engine, "<tool_call>")
        request.sampling.logit_bias[brace] = 1000.0
        answer = await answer_to(engine, request)
        assert (json.loads(answer.content), answer.calls) == ({"a": "xy"}, {})
        request.sampling.logit_bias.clear()
        request.sampling.logit_bias[call] = 1000.0
        answer = await answer_to(engine, request)
    assert (answer.content, answer.calls[0].name) == ("", "get_weather")
    assert json.loads(answer.calls[0].arguments_json) == {"city": "Paris"}


@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
async def test_the_input_of_a_custom_tool_matches_its_grammar(
    plain: Stack, mode: pb.ToolChoice.Mode.ValueType
) -> None:
    schema = '{"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}'
    patch = pb.Tool(
        name="patch", parameters_json=schema, input_syntax="lark", input_grammar='start: "*" /[ab]{2}/ "\\n"'
    )
    request = chat_with(patch)
    request.tool_choice.mode, request.tool_choice.parallel = mode, False
    async with engine_client(plain.worker.address) as engine:
        request.sampling.logit_bias[await token_of(engine, "<tool_call>")] = 1000.0
        answer = await answer_to(engine, request)
    assert (answer.content, [call.name for call in answer.calls.values()]) == ("", ["patch"])
    assert re.fullmatch(r"\*[ab]{2}\n", json.loads(answer.calls[0].arguments_json)["input"])
    assert "tools.format" not in answer.started.not_honoured


async def test_a_call_is_found_in_the_answer_to_a_template_of_the_request(plain: Stack) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    request.template = "{{ range .Tools }}{{ . }}{{ end }}{{ range .Messages }}{{ .Content }}{{ end }}"
    async with engine_client(plain.worker.address) as engine:
        rendered = await engine.stub.Render(pb.RenderRequest(request=request))
        request.sampling.logit_bias.update(await short_json_bias(engine))
        answer = await answer_to(engine, request)
    assert '"name":"get_weather"' in rendered.text
    assert [call.name for call in answer.calls.values()][:1] == ["get_weather"]
    assert answer.content == ""
