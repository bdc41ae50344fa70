"""Arguments of the chat template: which a request may set."""

from __future__ import annotations

import json

import pytest

from drover.errors import InvalidRequest
from drover.thinking import needs_template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.chat_plan import plan_chat
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.prompt.template_arguments import template_arguments


def _request(arguments: object, mode: pb.Think.Mode.ValueType = pb.Think.UNSET) -> pb.GenerateRequest:
    request = pb.GenerateRequest(template_arguments_json=json.dumps(arguments), think=pb.Think(mode=mode))
    request.chat.messages.add(role="user", content="x")
    return request


def test_arguments_of_any_json_value() -> None:
    assert template_arguments(pb.GenerateRequest()) == {}
    assert template_arguments(_request({"a": [1, None], "b_c": {"d": True}})) == {
        "a": [1, None],
        "b_c": {"d": True},
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "it must be an object"),
        ({"messages": []}, "'messages' cannot be set by a request"),
        ({"tools": []}, "'tools' cannot be set"),
        ({"chat_template": "x"}, "'chat_template' cannot be set"),
        ({"add_generation_prompt": False}, "'add_generation_prompt' cannot be set"),
        ({"a-b": 1}, "'a-b' is no name"),
        ({"": 1}, "'' is no name"),
        ({f"a{number}": 1 for number in range(65)}, "65 arguments are too many"),
        ({"a": "x" * 70_000}, "characters are too many"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused_arguments(arguments: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        template_arguments(_request(arguments))


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="cannot be read as JSON"):
        template_arguments(pb.GenerateRequest(template_arguments_json="{"))


def test_llama_servers_arguments_are_the_requests_below_those_of_its_other_fields() -> None:
    request = _request({"enable_thinking": True, "style": "short"}, pb.Think.OFF)
    template = ChatTemplate(thinking=True, can_stop_thinking=True)

    assert plan_chat(request, template).options["chat_template_kwargs"] == {
        "enable_thinking": False,
        "style": "short",
    }


def test_the_end_of_the_prompt_may_stay_open() -> None:
    request = _request({})
    request.chat.no_generation_prompt = True
    assert plan_chat(request, ChatTemplate()).options["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("arguments", "mode", "needs"),
    [
        ({"enable_thinking": False}, pb.Think.OFF, False),
        ({"thinking": True}, pb.Think.ON, False),
        ({"enable_thinking": False}, pb.Think.UNSET, True),
        ({"enable_thinking": False, "style": 1}, pb.Think.OFF, True),
    ],
)
def test_a_switch_of_thinking_needs_no_template(
    arguments: object, mode: pb.Think.Mode.ValueType, needs: bool
) -> None:
    assert needs_template(_request(arguments, mode)) is needs
    assert not needs_template(pb.GenerateRequest())
