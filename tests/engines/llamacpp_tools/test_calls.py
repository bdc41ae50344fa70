"""Tools in the prompt, and calls that the model chooses."""

from __future__ import annotations

import json
import re

import pytest

from drover.errors import ContextExceeded
from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import (
    ANSWER,
    CONTEXT_LENGTH,
    EOS_ID,
    THOUGHT,
    arguments_of,
    names_of,
    parts_of,
)
from tests.support.answers import answer_to, error_of, text_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient

pytestmark = pytest.mark.real_model


async def test_the_prompt_shows_tools_in_ollamas_order(engine: EngineClient) -> None:
    parameters = {
        "properties": {"city": {"enum": ["Paris"], "minLength": 1, "type": "string"}},
        "required": ["city"],
        "$defs": {"x": {"type": "object"}},
        "type": "object",
    }
    answer = await answer_to(engine, chat_with(tool("get_weather", json.dumps(parameters)), max_tokens=1))
    assert (
        '"parameters": {"type": "object", "$defs": {"x": {"type": "object"}}, "required": ["city"], '
        '"properties": {"city": {"type": "string", "enum": ["Paris"]}}}}}'
    ) in await text_of(engine, list(answer.started.prompt_ids))


async def test_an_answer_without_a_call_although_tools_are_offered(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(tool("get_weather")))
    assert (answer.thinking, answer.content, parts_of(answer)) == (THOUGHT, ANSWER, [])
    assert "get_weather" in await text_of(engine, list(answer.started.prompt_ids))


async def test_a_call_that_the_model_chooses(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(tool("get_weather"), logit_bias={EOS_ID: -6.0}))
    assert (answer.thinking, answer.content) == (THOUGHT, ANSWER)
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    first, *others = parts_of(answer)
    assert re.fullmatch(r"call_[a-z0-9]{8}", first.id)
    assert not any(part.id or part.name for part in others)
    assert [part.complete for part in parts_of(answer)] == [False] * len(others) + [True]
    assert answer.done.finish_reason == pb.Done.STOP


async def test_a_tool_that_was_loaded_later_is_not_listed_and_can_be_called(engine: EngineClient) -> None:
    """Its definition stands in a message, and the list at the front of the prompt stays as it was."""
    loaded = tool("get_weather")
    loaded.unlisted = True
    before = await answer_to(engine, chat_with(tool("search")))
    after = await answer_to(engine, chat_with(tool("search"), loaded))
    assert list(after.started.prompt_ids) == list(before.started.prompt_ids)

    alone = await answer_to(engine, chat_with(loaded, logit_bias={EOS_ID: -6.0}))
    assert (names_of(alone), arguments_of(alone)) == (["get_weather"], {"city": "Paris"})
    assert "get_weather" not in await text_of(engine, list(alone.started.prompt_ids))


STATUS = {
    "properties": {"s": {"$ref": "#/$defs/S"}},
    "required": ["s"],
    "$defs": {"S": {"type": "string", "enum": ["passed", "failed"]}},
}


@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
async def test_references_in_a_tools_schema_are_kept(
    engine: EngineClient, mode: pb.ToolChoice.Mode.ValueType
) -> None:
    request = chat_with(tool("report", json.dumps(STATUS)), logit_bias={EOS_ID: -6.0})
    request.tool_choice.mode = mode
    answer = await answer_to(engine, request)
    arguments = arguments_of(answer)
    assert isinstance(arguments, dict)
    assert arguments["s"] in ("passed", "failed")
    assert "passed" in await text_of(engine, list(answer.started.prompt_ids))


@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
@pytest.mark.parametrize("parameters", ["", "{}", '{"type": "object", "properties": {}}'])
async def test_a_function_without_parameters_gets_no_arguments(
    engine: EngineClient, mode: pb.ToolChoice.Mode.ValueType, parameters: str
) -> None:
    request = chat_with(pb.Tool(name="now", parameters_json=parameters), logit_bias={EOS_ID: -6.0})
    request.tool_choice.mode = mode
    assert arguments_of(await answer_to(engine, request)) == {}


async def test_calls_can_be_forbidden(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.NONE
    answer = await answer_to(engine, request)
    assert (answer.content, parts_of(answer)) == (ANSWER, [])
    assert "get_weather" not in await text_of(engine, list(answer.started.prompt_ids))


async def test_a_tools_result_is_in_the_prompt(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    call = pb.ToolCall(id="call_a1b2c3d4", name="get_weather", arguments_json='{"city": "Paris"}')
    request.chat.messages.add(role="assistant", thinking="Let me ask.", tool_calls=[call])
    request.chat.messages.add(role="tool", content="Rain.", tool_call_id=call.id, tool_name="get_weather")
    text = await text_of(engine, list((await answer_to(engine, request)).started.prompt_ids))
    assert "<think>\nLet me ask.\n</think>" in text
    assert '{"name": "get_weather", "arguments": {"city": "Paris"}}' in text
    assert "<tool_response>\nRain." in text


@pytest.mark.parametrize(
    "schema", [True, {"enum": []}, {"type": "any"}, {"description": "A number."}, {"$ref": "#/nowhere"}]
)
@pytest.mark.parametrize("mode", [pb.ToolChoice.AUTO, pb.ToolChoice.REQUIRED])
async def test_schemas_that_ollama_accepts_are_accepted(
    engine: EngineClient, schema: object, mode: pb.ToolChoice.Mode.ValueType
) -> None:
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    request = chat_with(tool("get_weather", json.dumps(parameters)), max_tokens=12)
    request.tool_choice.mode = mode
    assert (await answer_to(engine, request)).done.finish_reason in (pb.Done.STOP, pb.Done.LENGTH)


async def test_the_oldest_messages_are_dropped_before_the_tools(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), content="first", max_tokens=1)
    request.chat.messages.insert(0, pb.Message(role="system", content="Be kind."))
    for number in range(60):
        request.chat.messages.add(role="user", content=f"This is message number {number} of many.")
    answer = await answer_to(engine, request)
    text = await text_of(engine, list(answer.started.prompt_ids))
    assert answer.started.truncated_tokens > 0
    assert all(part in text for part in ("Be kind.", "get_weather", "number 59 "))
    assert "number 0 " not in text
    # llama.cpp made the same prompt of the same messages.
    assert (await answer_to(engine, request)).done.cached_tokens == len(answer.started.prompt_ids) - 1
    request.context.truncate = False
    assert isinstance(await error_of(engine, request), ContextExceeded)


async def test_a_message_that_is_too_long_loses_its_beginning(engine: EngineClient) -> None:
    words = " ".join(f"word{number}" for number in range(600))
    request = chat_with(tool("get_weather"), content=f"begin {words} end", max_tokens=1)
    answer = await answer_to(engine, request)
    text = await text_of(engine, list(answer.started.prompt_ids))
    assert "get_weather" in text
    assert "begin" not in text
    assert text.endswith(" end<|im_end|>\n<|im_start|>assistant\n")
    length = len(answer.started.prompt_ids)
    # Ollama's half of the window, less what cut text may take more.
    assert CONTEXT_LENGTH // 2 - 16 < length <= CONTEXT_LENGTH // 2 + 2
    assert answer.started.truncated_tokens > 600
    assert (await answer_to(engine, request)).done.cached_tokens == length - 1


async def test_tools_that_leave_no_room_are_refused(engine: EngineClient) -> None:
    error = await error_of(engine, chat_with(*(tool(f"get_number_{number}") for number in range(20))))
    assert isinstance(error, ContextExceeded)
    assert "the tools" in error.message
