"""What a request asks of the chat template."""

from __future__ import annotations

import pytest

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.engines.llamacpp.turn import Turn, turn_of
from engine_worker.output.call_markup import CallMarkup
from engine_worker.schemas.constraint import ANY_OBJECT, from_schema

PLAIN = ChatTemplate()
TAGS = CallMarkup("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
QWEN = ChatTemplate(tools=True, thinking=True, can_stop_thinking=True, call_markup=TAGS)
ALWAYS = ChatTemplate(thinking=True, takes_effort=True)


def _request(
    mode: pb.Think.Mode.ValueType = pb.Think.UNSET, level: str = "", tools: int = 0
) -> pb.GenerateRequest:
    request = pb.GenerateRequest(think=pb.Think(mode=mode, level=level))
    request.chat.messages.add(role="user", content="Hi")
    request.chat.tools.extend(pb.Tool(name=f"tool{number}") for number in range(tools))
    return request


def test_a_plain_model_gets_its_messages_and_nothing_else() -> None:
    for mode in (pb.Think.UNSET, pb.Think.OFF):
        turn = turn_of(_request(mode), PLAIN)
        assert turn.body([pb.Message(role="user", content="Hi")]) == {
            "messages": [{"role": "user", "content": "Hi"}],
            "add_generation_prompt": True,
        }
        assert not turn.is_parsed


def test_the_last_message_goes_on() -> None:
    begun = pb.Message(role="assistant", content="He")

    assert turn_of(_request(), PLAIN, begun).options["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("begun", "is_ours", "not_honoured"),
    [
        (None, True, []),
        (pb.Message(role="assistant", thinking="Hm"), True, []),
        (pb.Message(role="assistant", content="He"), False, ["tools"]),
    ],
)
def test_a_begun_answer_with_a_format(
    begun: pb.Message | None, is_ours: bool, not_honoured: list[str]
) -> None:
    request = _request(tools=1)
    turn = turn_of(request, QWEN, begun, from_schema(ANY_OBJECT))

    assert (turn.own is not None, turn.is_parsed, list(turn.not_honoured)) == (is_ours, False, not_honoured)
    assert turn_of(request, QWEN, begun).is_parsed


@pytest.mark.parametrize(
    ("template", "mode", "arguments", "is_parsed", "shows"),
    [
        (QWEN, pb.Think.UNSET, None, True, True),
        (QWEN, pb.Think.ON, {"enable_thinking": True}, True, True),
        (QWEN, pb.Think.OFF, {"enable_thinking": False}, False, False),
        (ALWAYS, pb.Think.OFF, {"enable_thinking": False}, True, False),
    ],
)
def test_thinking(
    template: ChatTemplate, mode: pb.Think.Mode.ValueType, arguments: object, is_parsed: bool, shows: bool
) -> None:
    turn = turn_of(_request(mode), template)

    assert turn.options.get("chat_template_kwargs") == arguments
    assert (turn.is_parsed, turn.shows_thinking) == (is_parsed, shows)
    assert turn.options.get("reasoning_format") == ("deepseek" if is_parsed else None)


@pytest.mark.parametrize(("level", "effort"), [("low", "low"), ("high", "high"), ("max", "high")])
def test_a_level_goes_to_templates_that_take_one(level: str, effort: str) -> None:
    arguments = turn_of(_request(pb.Think.ON, level), ALWAYS).options["chat_template_kwargs"]

    assert arguments == {"enable_thinking": True, "reasoning_effort": effort}
    assert turn_of(_request(pb.Think.ON, level), QWEN).options["chat_template_kwargs"] == {
        "enable_thinking": True
    }


def test_tools_are_parsed_also_without_thinking() -> None:
    turn = turn_of(_request(pb.Think.OFF, tools=1), QWEN)

    assert turn.is_parsed
    assert turn.options["tool_choice"] == "auto"


def test_forbidden_tools_are_no_tools() -> None:
    request = _request(tools=1)
    request.tool_choice.mode = pb.ToolChoice.NONE

    assert not turn_of(request, PLAIN).is_parsed


@pytest.mark.parametrize(
    ("request_", "what"), [(_request(tools=1), "tools"), (_request(pb.Think.ON), "thinking")]
)
def test_what_the_template_does_not_have(request_: pb.GenerateRequest, what: str) -> None:
    with pytest.raises(CapabilityMissing, match=f"does not support {what}"):
        turn_of(request_, PLAIN)


def test_without_a_parser_the_model_must_not_think() -> None:
    quiet = turn_of(_request(), QWEN).without_parser(QWEN)

    assert (quiet.is_parsed, quiet.options["chat_template_kwargs"]) == (False, {"enable_thinking": False})
    with pytest.raises(CapabilityMissing, match="always thinks"):
        turn_of(_request(), ALWAYS).without_parser(ALWAYS)
    plain = Turn()
    assert plain.without_parser(PLAIN) is plain


def test_what_is_not_kept_of_a_forced_calls_schema_is_named() -> None:
    schema = '{"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": true}}}'
    request = _request()
    request.chat.tools.add(name="f", parameters_json=schema)
    assert list(turn_of(request, QWEN).not_honoured) == []
    request.tool_choice.mode = pb.ToolChoice.REQUIRED

    assert list(turn_of(request, QWEN).not_honoured) == ["tools.uniqueItems"]
