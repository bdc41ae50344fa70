"""Reasoning as the request wants it: left out, in the content, at once, and under both names."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.openai.chat_encode import ChatEncoder
from frontend.api.openai.extras.fields import Extras
from frontend.api.openai.extras.reasoning import ReasoningStyle

_EVENTS = [
    pb.GenerateEvent(started=pb.Started(prompt_ids=[1]), deltas=[pb.Delta(thinking="Hm")]),
    pb.GenerateEvent(deltas=[pb.Delta(thinking="m.")]),
    pb.GenerateEvent(deltas=[pb.Delta(content="Yes")]),
    pb.GenerateEvent(deltas=[pb.Delta(content=".")]),
    pb.GenerateEvent(done=pb.Done(finish_reason=pb.Done.STOP, prompt_tokens=1, completion_tokens=4)),
]
_TAGGED = "<think>\nHmm.\n</think>\n\nYes."
_CASES = [
    (ReasoningStyle(), "Yes.", ["Hm", "m."], None),
    (ReasoningStyle(is_shown=False), "Yes.", [], None),
    (ReasoningStyle(is_separate=False), _TAGGED, [], None),
    (ReasoningStyle(is_streamed=False), "Yes.", ["Hmm."], None),
    (ReasoningStyle(is_separate=False, is_streamed=False), _TAGGED, [], None),
    (ReasoningStyle(has_both_names=True), "Yes.", ["Hm", "m."], "Hmm."),
]


@pytest.mark.parametrize(("style", "text", "thoughts", "second"), _CASES, ids=str)
def test_streams(style: ReasoningStyle, text: str, thoughts: Sequence[str], second: str | None) -> None:
    encoder = ChatEncoder("m", 1, include_usage=False, reasoning=style)
    lines = b"".join(
        [*map(encoder.lines, _EVENTS[:2]), encoder.token("Yes", 1), *map(encoder.lines, _EVENTS[3:])]
    )
    data = [block.removeprefix("data: ") for block in lines.decode().split("\n\n") if block]
    deltas = [json.loads(each)["choices"][0].get("delta", {}) for each in data if each != "[DONE]"]

    assert "".join(delta.get("content", "") for delta in deltas) == text
    assert [delta["reasoning"] for delta in deltas if "reasoning" in delta] == list(thoughts)
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == (second or "")


@pytest.mark.parametrize(("style", "text", "thoughts", "second"), _CASES, ids=str)
def test_whole_answers(style: ReasoningStyle, text: str, thoughts: Sequence[str], second: str | None) -> None:
    body = json.loads(ChatEncoder("m", 1, include_usage=False, reasoning=style).body(_EVENTS))
    message = body["choices"][0]["message"]

    assert message["content"] == text
    assert message.get("reasoning") == ("".join(thoughts) or None)
    assert message.get("reasoning_content") == second


def test_reasoning_that_a_limit_cuts_is_closed() -> None:
    style = ReasoningStyle(is_separate=False, is_streamed=False)
    body = ChatEncoder("m", 1, include_usage=False, reasoning=style).body([*_EVENTS[:2], _EVENTS[-1]])

    assert json.loads(body)["choices"][0]["message"]["content"] == "<think>\nHmm.\n</think>\n\n"


@pytest.mark.parametrize(
    ("fields", "style"),
    [
        ({}, None),
        ({"separate_reasoning": True}, ReasoningStyle(has_both_names=True)),
        ({"separate_reasoning": False}, ReasoningStyle(is_separate=False)),
        ({"stream_reasoning": False}, ReasoningStyle(is_streamed=False)),
        ({"stream_reasoning": True}, None),
        ({"include_reasoning": False}, ReasoningStyle(is_shown=False)),
        ({"include_reasoning": True}, None),
    ],
    ids=str,
)
def test_the_fields(fields: dict[str, Json], style: ReasoningStyle | None) -> None:
    assert Extras.take({**fields}, "chat").reasoning_style == style
