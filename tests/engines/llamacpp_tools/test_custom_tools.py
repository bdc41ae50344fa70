"""Calls of custom tools, whose input a client's grammar describes."""

from __future__ import annotations

import json
import re
from typing import cast

import pytest

from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import ANSWER, EOS_ID, THOUGHT, arguments_of, names_of, parts_of
from tests.support.answers import Answer, answer_to
from tests.support.chat_requests import chat_with
from tests.support.engine_client import EngineClient

pytestmark = pytest.mark.real_model

_LARK = 'start: "*" LINE~2\nLINE: /[ab]{1,3}/ "\\n"'
_GRAMMARS = [("lark", _LARK, r"\*([ab]{1,3}\n){2}"), ("regex", r"[ab]{2}\n[cd]", r"[ab]{2}\n[cd]")]


def _patch(syntax: str, definition: str) -> pb.Tool:
    schema = {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }
    return pb.Tool(
        name="patch", parameters_json=json.dumps(schema), input_grammar=definition, input_syntax=syntax
    )


def _input_of(answer: Answer) -> str:
    return cast("dict[str, str]", arguments_of(answer))["input"]


@pytest.mark.parametrize(("syntax", "definition", "expected"), _GRAMMARS)
async def test_the_input_of_a_forced_call_matches_the_grammar(
    engine: EngineClient, syntax: str, definition: str, expected: str
) -> None:
    request = chat_with(_patch(syntax, definition))
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    answer = await answer_to(engine, request)

    assert names_of(answer) == ["patch"]
    assert re.fullmatch(expected, _input_of(answer))
    assert "tools.format" not in answer.started.not_honoured


@pytest.mark.parametrize(("syntax", "definition", "expected"), _GRAMMARS)
async def test_the_input_of_a_call_that_the_model_chooses_matches_the_grammar(
    engine: EngineClient, syntax: str, definition: str, expected: str
) -> None:
    answer = await answer_to(engine, chat_with(_patch(syntax, definition), logit_bias={EOS_ID: -6.0}))

    assert (answer.thinking, answer.content, names_of(answer)) == (THOUGHT, ANSWER, ["patch"])
    assert re.fullmatch(expected, _input_of(answer))
    assert "tools.format" not in answer.started.not_honoured


async def test_an_answer_without_a_call_stays_free(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(_patch("lark", _LARK)))

    assert (answer.thinking, answer.content, parts_of(answer)) == (THOUGHT, ANSWER, [])
    assert answer.done.finish_reason == pb.Done.STOP


async def test_a_grammar_that_cannot_be_enforced_is_named(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(_patch("lark", "start: <special>")))

    assert answer.content == ANSWER
    assert "tools.format" in answer.started.not_honoured
