"""Conversion of neutral requests to the engine's."""

from __future__ import annotations

import json

import pytest

from drover.json_value import Json
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.api.core.conversion import chat_to_proto, generate_to_proto
from frontend.api.core.go_json import loads
from frontend.api.core.options import Options
from frontend.api.core.request import ChatRequest, GenerateRequest
from frontend.models.model import CatalogModel
from frontend.routing.served_model import ServedModel

_UNSET, _OFF, _ON = pb.Think.UNSET, pb.Think.OFF, pb.Think.ON
_USER = {"role": "user", "content": "hello"}
_CALL = {"function": {"name": "f", "arguments": {}}}


def _model(thinking: bool = False) -> CatalogModel:
    name = ModelName.parse("m")
    assert name is not None
    can = pb.Capabilities(completion=True, thinking=thinking)
    served = ServedModel(name, pb.Model(names=["m:latest"], context_length=4096, capabilities=can))
    return CatalogModel(name, served)


def _chat(thinking: bool = False, **body: object) -> pb.GenerateRequest:
    request = ChatRequest.read(loads(json.dumps(body).encode()))
    return chat_to_proto(request, Options.read(request.options), _model(thinking), 0)


@pytest.mark.parametrize(
    ("messages", "continued"),
    [
        ([_USER], False),
        ([_USER, {"role": "assistant", "content": "The capital of"}], True),
        ([_USER, {"role": "Assistant", "content": "The capital of"}], True),
        ([_USER, {"role": "assistant", "content": ""}], True),
        ([_USER, {"role": "assistant", "thinking": "hm"}], True),
        ([_USER, {"role": "assistant", "content": "x", "tool_calls": []}], True),
        ([_USER, {"role": "assistant", "tool_calls": [_CALL]}], False),
        ([_USER, {"role": "assistant", "content": "x"}, _USER], False),
        ([{"role": "assistant", "content": "x"}], True),
        ([_USER, {"role": "tool", "content": "42"}], False),
        ([{"content": "x"}], False),
    ],
)
def test_a_last_message_of_the_assistant_is_continued(messages: list[object], continued: bool) -> None:
    request = _chat(messages=messages)

    assert request.chat.continue_last == continued
    assert len(request.chat.messages) == len(messages)


@pytest.mark.parametrize(
    ("thinking", "think", "mode", "level"),
    [
        (True, None, _ON, ""),
        (True, True, _ON, ""),
        (True, False, _OFF, ""),
        (True, "low", _ON, "low"),
        (True, "max", _ON, "max"),
        (False, None, _UNSET, ""),
        (False, False, _OFF, ""),
    ],
)
def test_a_model_that_can_think_does_by_default(
    thinking: bool, think: object, mode: pb.Think.Mode.ValueType, level: str
) -> None:
    assert _chat(thinking, messages=[_USER], think=think).think == pb.Think(mode=mode, level=level)


@pytest.mark.parametrize(("num_keep", "kept"), [(None, 4), (0, 0), (24, 24), (-1, 2**32 - 1)])
def test_num_keep(num_keep: int | None, kept: int) -> None:
    options: dict[str, Json] = {} if num_keep is None else {"num_keep": num_keep}

    converted = generate_to_proto(GenerateRequest(prompt="x"), Options.read(options), _model(), 0)

    assert converted.context.num_keep == kept


def test_a_context_has_at_least_four_tokens() -> None:
    request = GenerateRequest(prompt="x", options={"num_ctx": 1})

    converted = generate_to_proto(request, Options.read(request.options), _model(), 0)

    assert converted.context.num_ctx == 4
    assert converted.sampling.max_tokens == 40
