"""A format with tools, after thinking, and where an answer was begun."""

from __future__ import annotations

import json

import pytest

from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import (
    FORMAT,
    THOUGHT,
    arguments_of,
    names_of,
    parts_of,
)
from tests.support.answers import answer_to, text_of, tokens_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient

pytestmark = pytest.mark.real_model


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.OFF])
async def test_tools_and_a_format_are_a_call_or_the_format(
    engine: EngineClient, mode: pb.Think.Mode.ValueType
) -> None:
    thought = "" if mode == pb.Think.OFF else THOUGHT
    request = chat_with(tool("get_weather"))
    request.json_schema = FORMAT
    request.think.mode = mode
    brace, call = [(await tokens_of(engine, text))[0] for text in ("{", "<tool_call>")]
    request.sampling.logit_bias[brace] = 5.0
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content), parts_of(answer)) == (thought, {"a": "xy"}, [])
    request.sampling.logit_bias[call] = 10.0
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (thought, "")
    assert names_of(answer)[0] == "get_weather"
    assert arguments_of(answer) == {"city": "Paris"}


async def test_a_forced_call_comes_before_a_format(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.json_schema = FORMAT
    request.tool_choice.mode = pb.ToolChoice.NAMED
    request.tool_choice.name = "get_weather"
    answer = await answer_to(engine, request)
    assert (answer.content, names_of(answer)) == ("", ["get_weather"])


async def test_a_schema_holds_after_the_thinking(engine: EngineClient) -> None:
    request = chat_with(max_tokens=60)
    request.json_schema = json.dumps(
        {
            "type": "object",
            "properties": {"a": {"enum": ["xy"]}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content)) == (THOUGHT, {"a": "xy"})
    request.think.mode = pb.Think.OFF
    answer = await answer_to(engine, request)
    assert (answer.thinking, json.loads(answer.content)) == ("", {"a": "xy"})


async def test_any_json_holds_after_the_thinking(engine: EngineClient) -> None:
    request = chat_with(max_tokens=20)
    request.any_json = True
    answer = await answer_to(engine, request)
    assert answer.thinking == THOUGHT
    assert answer.content.startswith("{")


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.OFF])
@pytest.mark.parametrize("begun", ["He", '{"a":"x'])
async def test_a_schema_holds_for_what_is_added_to_a_begun_answer(
    engine: EngineClient, begun: str, mode: pb.Think.Mode.ValueType
) -> None:
    request = chat_with(tool("get_weather"), max_tokens=60)
    request.think.mode = mode
    request.json_schema = json.dumps(
        {
            "type": "object",
            "properties": {"a": {"enum": ["xy"]}},
            "required": ["a"],
            "additionalProperties": False,
        }
    )
    request.chat.messages.add(role="assistant", content=begun)
    request.chat.continue_last = True
    answer = await answer_to(engine, request)
    assert json.loads(answer.content) == {"a": "xy"}
    assert list(answer.started.not_honoured) == ["tools"]


async def test_an_assistants_message_continues(engine: EngineClient) -> None:
    request = chat_with()
    request.chat.messages.add(role="assistant", content="He", thinking="Well.")
    request.chat.continue_last = True
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == ("", "llo there")


async def test_two_assistant_messages_are_continued_as_one(engine: EngineClient) -> None:
    request = chat_with()
    request.chat.messages.add(role="assistant", content="Well.")
    request.chat.messages.add(role="assistant", content="He")
    request.chat.continue_last = True
    answer = await answer_to(engine, request)
    assert answer.content == "llo there"
    assert (await text_of(engine, list(answer.started.prompt_ids))).endswith("Well.\n\nHe")
