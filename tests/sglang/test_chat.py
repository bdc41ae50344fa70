"""Templates, thinking, tools and formats on the real engine, through both tiers and the official client.

The model has random weights: a bias or a grammar makes it say what a test needs.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import grpc
import httpx
import ollama
import pytest

from drover.errors import ConstraintRejected, InvalidRequest
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.support.answers import answer_to, short_json_bias, text_of, token_of, tokens_of
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient
from tests.support.processes import Stack

FORCE = 100.0
HI = [{"role": "user", "content": "hi"}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
AGE = {"type": "object", "properties": {"age": {"enum": [41, 42]}}, "required": ["age"]}


def with_tool(request: pb.GenerateRequest) -> pb.GenerateRequest:
    function = WEATHER["function"]
    request.chat.tools.add(
        name=function["name"],
        description=function["description"],
        parameters_json=json.dumps(function["parameters"]),
    )
    return request


async def rendered(engine: EngineClient, request: pb.GenerateRequest) -> str:
    return (await engine.stub.Render(pb.RenderRequest(request=request))).text


def test_the_models_abilities_are_found_in_its_template(
    thinker_client: ollama.Client, client: ollama.Client
) -> None:
    assert thinker_client.show("thinker").capabilities == ["completion", "tools", "insert", "thinking"]
    assert client.show("smol").capabilities == ["completion", "decision"]


async def test_thinking_is_on_unless_it_is_switched_off(thinker_engine: EngineClient) -> None:
    off_mark = "<think>\n\n</think>"
    for mode, is_off in ((pb.Think.UNSET, False), (pb.Think.ON, False), (pb.Think.OFF, True)):
        request = chat()
        request.think.mode = mode
        assert (off_mark in await rendered(thinker_engine, request)) is is_off


@pytest.mark.parametrize("level", ["low", "medium", "high", "max"])
async def test_levels_are_passed_to_the_template(thinker_engine: EngineClient, level: str) -> None:
    request = chat(max_tokens=2)
    request.think.mode = pb.Think.ON
    request.think.level = level
    assert f"effort: {level}" in await rendered(thinker_engine, request)
    assert (await answer_to(thinker_engine, request)).done.completion_tokens == 2


async def test_thinking_and_content_come_apart(thinker_engine: EngineClient) -> None:
    """A grammar makes the model think, and answer."""
    request = chat(max_tokens=40)
    # Without a think mode the grammar begins with the first token, and thinking is the model's own habit.
    request.regex = "<think>hm</think>Yes[.]"
    request.think.mode = pb.Think.OFF
    raw = await answer_to(thinker_engine, request)
    assert (raw.thinking, raw.content) == ("", "<think>hm</think>Yes.")
    opening = await token_of(thinker_engine, "<think>")
    request = chat(max_tokens=4, logit_bias={opening: FORCE})
    request.think.mode = pb.Think.ON
    thinking = await answer_to(thinker_engine, request)
    assert (thinking.thinking, thinking.content) == ("<think>" * 3, "")
    assert thinking.done.reasoning_tokens == 3


async def test_tools_history_is_rendered(thinker_engine: EngineClient) -> None:
    request = with_tool(chat("weather?"))
    call = pb.ToolCall(id="call_1", name="get_weather", arguments_json='{"city": "Boston"}')
    request.chat.messages.add(role="assistant", thinking="I need a tool", tool_calls=[call])
    request.chat.messages.add(role="tool", tool_name="get_weather", tool_call_id="call_1", content="22 C")
    text = await rendered(thinker_engine, request)
    assert "<think>\nI need a tool\n</think>" in text
    assert '{"name": "get_weather", "arguments": {"city": "Boston"}}' in text
    assert "<tool_response>\n22 C\n</tool_response>" in text
    assert '"description": "Weather of a city"' in text


async def test_a_last_message_with_calls_stays_an_assistants(thinker_engine: EngineClient) -> None:
    request = with_tool(chat("weather?"))
    call = pb.ToolCall(name="get_weather", arguments_json='{"city": "Boston"}')
    request.chat.messages.add(role="assistant", tool_calls=[call])
    text = await rendered(thinker_engine, request)
    assert '"arguments": {"city": "Boston"}' in text
    assert text.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("thinking", "content", "end"),
    [
        ("", "Par", "<|im_start|>assistant\nPar"),
        ("hm", "Par", "<|im_start|>assistant\n<think>\nhm\n</think>\n\nPar"),
        ("hm", "", "<|im_start|>assistant\n<think>\nhm"),
    ],
)
async def test_an_answer_that_was_begun_continues(
    thinker_engine: EngineClient, thinking: str, content: str, end: str
) -> None:
    following = await token_of(thinker_engine, "is")
    request = chat("Capital?", max_tokens=1, logit_bias={following: FORCE})
    request.chat.messages.add(role="assistant", thinking=thinking, content=content)
    request.chat.continue_last = True
    request.think.mode = pb.Think.ON
    assert (await rendered(thinker_engine, request)).endswith(end)
    answer = await answer_to(thinker_engine, request)
    assert (answer.thinking, answer.content) == (("", "is") if content else ("is", ""))


async def test_a_raw_prompt_of_a_thinking_model_is_answered_as_text(thinker_engine: EngineClient) -> None:
    request = pb.GenerateRequest(raw="Once upon", sampling=pb.Sampling(temperature=0, max_tokens=3))
    request.think.mode = pb.Think.ON
    answer = await answer_to(thinker_engine, request)
    assert (answer.thinking, bool(answer.content)) == ("", True)
    request.json_schema = json.dumps(AGE)
    request.sampling.max_tokens = 80
    answer = await answer_to(thinker_engine, request)
    assert json.loads(answer.content)["age"] in (41, 42)


async def test_a_named_function_that_is_not_offered_is_refused(thinker_engine: EngineClient) -> None:
    request = with_tool(chat())
    request.tool_choice.mode, request.tool_choice.name = pb.ToolChoice.NAMED, "nope"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answer_to(thinker_engine, request)
    assert isinstance(error_from_status(refused.value), InvalidRequest)
    assert "nope" in str(refused.value.details())


async def test_any_role_reaches_the_template(thinker_engine: EngineClient) -> None:
    request = chat()
    request.chat.messages[0].role = "narrator"
    assert "<|im_start|>narrator\nhi" in await rendered(thinker_engine, request)


async def test_arguments_that_are_no_object_are_shown_as_text(thinker_engine: EngineClient) -> None:
    request = chat()
    request.chat.messages.add(role="assistant", tool_calls=[pb.ToolCall(name="f", arguments_json="[1")])
    request.chat.messages.add(role="user", content="And?")
    assert '{"INVALID_JSON": "[1"}' in await rendered(thinker_engine, request)


async def test_a_tool_that_was_loaded_later_is_not_listed(thinker_engine: EngineClient) -> None:
    request = with_tool(chat())
    before = await rendered(thinker_engine, request)
    request.chat.tools.add(name="later", parameters_json="{}", unlisted=True)
    assert await rendered(thinker_engine, request) == before


@pytest.mark.parametrize("mode", [pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED])
async def test_a_call_can_be_forced(thinker_engine: EngineClient, mode: pb.ToolChoice.Mode.ValueType) -> None:
    # The city is required: a string that ends at once, and then the object.
    quote, brace = await token_of(thinker_engine, '"'), await token_of(thinker_engine, "}")
    request = with_tool(chat(max_tokens=60, logit_bias={quote: FORCE, brace: FORCE - 1}))
    request.tool_choice.mode = mode
    request.tool_choice.name = "get_weather" if mode == pb.ToolChoice.NAMED else ""
    request.think.mode = pb.Think.OFF
    answer = await answer_to(thinker_engine, request)
    assert answer.calls[0].name == "get_weather"
    assert isinstance(json.loads(answer.calls[0].arguments_json), dict)
    assert answer.complete >= {0}
    assert answer.content == ""
    assert answer.calls[0].id.startswith("call_")


async def test_a_forced_call_goes_before_a_format(thinker_engine: EngineClient) -> None:
    request = with_tool(chat(max_tokens=60, logit_bias=await short_json_bias(thinker_engine)))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    request.think.mode = pb.Think.OFF
    request.any_json = True
    answer = await answer_to(thinker_engine, request)
    assert answer.calls[0].name == "get_weather"
    assert answer.content == ""


async def test_no_tools_means_text(thinker_engine: EngineClient) -> None:
    request = with_tool(chat(max_tokens=3))
    request.tool_choice.mode = pb.ToolChoice.NONE
    assert "<tools>" not in await rendered(thinker_engine, request)
    assert (await answer_to(thinker_engine, request)).content


async def test_a_format_waits_for_the_end_of_the_thinking(thinker_engine: EngineClient) -> None:
    end = await token_of(thinker_engine, "</think>")
    request = chat(max_tokens=80, logit_bias={end: FORCE})
    request.think.mode = pb.Think.ON
    request.json_schema = json.dumps(AGE)
    answer = await answer_to(thinker_engine, request)
    assert json.loads(answer.content)["age"] in (41, 42)
    assert answer.thinking == ""


def test_formats_through_the_client(client: ollama.Client) -> None:
    question = [{"role": "user", "content": "How old are you? Answer in JSON."}]
    options = {"temperature": 0, "num_predict": 200}
    by_schema = client.chat("smol", question, format=AGE, options=options)
    assert json.loads(by_schema.message.content or "")["age"] in (41, 42)
    anything = client.chat("smol", question, format="json", options=options)
    if anything.done_reason == "stop":
        assert isinstance(json.loads(anything.message.content or ""), dict)
    assert (anything.message.content or "").startswith("{")


async def test_regex_and_ebnf(engine: EngineClient) -> None:
    by_regex = chat("Your number?", max_tokens=20)
    by_regex.regex = "[0-9]{3}-[a-c]{2}"
    assert len((await answer_to(engine, by_regex)).content) == 6
    by_grammar = chat("Yes or no?", max_tokens=20)
    by_grammar.ebnf = 'root ::= "yes!" | "no!"'
    assert (await answer_to(engine, by_grammar)).content in ("yes!", "no!")


@pytest.mark.parametrize(
    "constraint", [{"json_schema": '{"type": 5}'}, {"regex": "[0-9"}, {"ebnf": "root ::= ???"}], ids=str
)
async def test_a_constraint_that_cannot_be_read_is_refused(
    engine: EngineClient, constraint: dict[str, str]
) -> None:
    request = chat(max_tokens=3)
    request.MergeFrom(pb.GenerateRequest(**constraint))  # type: ignore[arg-type]  # mypy cannot type fields in **
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await answer_to(engine, request)
    assert isinstance(error_from_status(refused.value), ConstraintRejected)


async def test_fill_in_the_middle(thinker_engine: EngineClient, thinker_client: ollama.Client) -> None:
    request = pb.GenerateRequest()
    request.prompt.text, request.prompt.suffix = "def f(", "): pass"
    assert (
        await rendered(thinker_engine, request) == "<|fim_prefix|>def f(<|fim_suffix|>): pass<|fim_middle|>"
    )
    options = {"num_predict": 2, "temperature": 0}
    answer = await asyncio.to_thread(
        thinker_client.generate, "thinker", "def f(", suffix="): pass", options=options
    )
    assert answer.eval_count == 2


def test_fill_in_is_refused_where_there_are_no_tokens_for_it(smol: Stack) -> None:
    answer = httpx.post(
        f"{smol.url}/api/generate", json={"model": "smol", "prompt": "a", "suffix": "b"}, timeout=30
    )
    assert (answer.status_code, "does not support insert" in answer.json()["error"]) == (400, True)


def test_images_are_refused_by_a_model_that_cannot_see(client: ollama.Client) -> None:
    image = b"\x89PNG\r\n\x1a\n"
    with pytest.raises(ollama.ResponseError) as refused:
        client.chat("smol", [{"role": "user", "content": "what?", "images": [image]}])
    assert refused.value.status_code == 400


def test_context_ids_go_there_and_back(client: ollama.Client) -> None:
    options = {"temperature": 0, "num_predict": 12}
    first = client.generate("smol", "What is the capital of France?", options=options)
    assert first.context
    second = client.generate("smol", "And of Italy?", context=list(first.context), options=options)
    assert second.context
    assert list(second.context)[: len(first.context)] == list(first.context)


async def test_tokenise_and_back(engine: EngineClient) -> None:
    text = "Grüße 🌍 <|im_start|>user\n世界"
    assert await text_of(engine, await tokens_of(engine, text)) == text
