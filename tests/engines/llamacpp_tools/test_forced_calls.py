"""Calls that a request forces: a grammar makes them."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import (
    THOUGHT,
    arguments_of,
    counts_of,
    names_of,
    parts_of,
)
from tests.support.answers import answer_to, error_of, text_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

pytestmark = pytest.mark.real_model


async def test_a_model_can_be_made_to_call(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    request.think.mode = pb.Think.OFF
    answer = await answer_to(engine, request)
    assert (answer.thinking, names_of(answer)) == ("", ["get_weather"])


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.ON, pb.Think.OFF])
async def test_a_forced_call_is_the_whole_answer(engine: EngineClient, mode: pb.Think.Mode.ValueType) -> None:
    """The model would say something first."""
    request = chat_with(tool("get_weather"))
    request.think.mode = mode
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == ("" if mode == pb.Think.OFF else THOUGHT, "")
    assert (names_of(answer), arguments_of(answer)) == (["get_weather"], {"city": "Paris"})
    assert answer.complete == {0}
    assert answer.done.finish_reason == pb.Done.STOP


async def test_a_forced_call_never_becomes_text(engine: EngineClient) -> None:
    """Wherever the limit cuts it."""
    request = chat_with(tool("get_weather"))
    request.think.mode = pb.Think.OFF
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    whole = counts_of(await answer_to(engine, request))[-1]
    for most in range(1, whole):
        request.sampling.max_tokens = most
        answer = await answer_to(engine, request)
        assert (answer.content, answer.thinking) == ("", "")
        assert answer.done.finish_reason == pb.Done.LENGTH


async def test_a_stop_text_does_not_break_a_forced_call(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), stop=["city", "of the"])
    request.think.mode = pb.Think.OFF
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    assert arguments_of(await answer_to(engine, request)) == {"city": "Paris"}
    request.think.mode = pb.Think.ON
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content, answer.done.matched_stop) == ("I think ", "", "of the")
    await until(engine.idle, 2, "the slot is free")


async def test_a_forced_call_reaches_the_client_while_it_is_written(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert len(parts_of(answer)) > 2
    written = await text_of(engine, answer.ids)
    assert written.replace('"city":"Paris" ', '"city": "Paris"') == (
        f"<think>{THOUGHT}</think>"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
    )


async def test_a_function_can_be_forced_by_name(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"), tool("get_news"))
    request.tool_choice.mode = pb.ToolChoice.NAMED
    for name in ("get_weather", "get_news"):
        request.tool_choice.name = name
        assert names_of(await answer_to(engine, request)) == [name]
    request.tool_choice.name = "get_lost"
    assert isinstance(await error_of(engine, request), InvalidRequest)


async def test_a_call_without_arguments(engine: EngineClient) -> None:
    request = chat_with(pb.Tool(name="now"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)
    assert (names_of(answer), arguments_of(answer)) == (["now"], {})
    assert parts_of(answer)[-1].complete


async def test_a_call_cut_by_the_token_limit_is_not_complete(engine: EngineClient) -> None:
    request = chat_with(tool("get_weather"))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    whole = await answer_to(engine, request)
    request.sampling.max_tokens = counts_of(whole)[-1] - 12
    answer = await answer_to(engine, request)
    assert names_of(answer) == ["get_weather"]
    assert not any(part.complete for part in parts_of(answer))
    assert answer.done.finish_reason == pb.Done.LENGTH
    assert answer.done.completion_tokens == request.sampling.max_tokens
