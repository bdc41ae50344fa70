"""How a chat is rendered, and who parses its answer."""

from __future__ import annotations

import pytest

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_modes import (
    AnswerMode,
    DroverParsedAnswer,
    PlainAnswer,
    ServerParsedAnswer,
)
from engine_worker.engines.llamacpp.chat_plan import ChatPlan, plan_chat
from engine_worker.engines.llamacpp.template import ChatTemplate
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


def test_a_template_without_thinking_and_tools_gets_only_messages() -> None:
    for mode in (pb.Think.UNSET, pb.Think.OFF):
        plan = plan_chat(_request(mode), PLAIN)
        assert plan.body([pb.Message(role="user", content="Hi")]) == {
            "messages": [{"role": "user", "content": "Hi"}],
            "add_generation_prompt": True,
        }
        assert isinstance(plan.answer, PlainAnswer)


def test_a_started_answer_is_continued_without_a_generation_prompt() -> None:
    answer_start = pb.Message(role="assistant", content="He")

    assert plan_chat(_request(), PLAIN, answer_start).options["add_generation_prompt"] is False


@pytest.mark.parametrize(
    ("answer_start", "mode", "not_honoured"),
    [
        (None, DroverParsedAnswer, []),
        (pb.Message(role="assistant", thinking="Hm"), DroverParsedAnswer, []),
        (pb.Message(role="assistant", content="He"), PlainAnswer, ["tools"]),
    ],
)
def test_a_started_answer_with_a_format(
    answer_start: pb.Message | None, mode: type[AnswerMode], not_honoured: list[str]
) -> None:
    request = _request(tools=1)
    plan = plan_chat(request, QWEN, answer_start, from_schema(ANY_OBJECT))

    assert (type(plan.answer), list(plan.not_honoured)) == (mode, not_honoured)
    assert isinstance(plan_chat(request, QWEN, answer_start).answer, ServerParsedAnswer)


@pytest.mark.parametrize(
    ("template", "mode", "arguments", "answer"),
    [
        (QWEN, pb.Think.UNSET, None, ServerParsedAnswer(shows_thinking=True)),
        (QWEN, pb.Think.ON, {"enable_thinking": True}, ServerParsedAnswer(shows_thinking=True)),
        (QWEN, pb.Think.OFF, {"enable_thinking": False}, PlainAnswer()),
        (ALWAYS, pb.Think.OFF, {"enable_thinking": False}, ServerParsedAnswer(shows_thinking=False)),
    ],
)
def test_thinking_mode_sets_template_arguments_and_parser(
    template: ChatTemplate, mode: pb.Think.Mode.ValueType, arguments: object, answer: AnswerMode
) -> None:
    plan = plan_chat(_request(mode), template)

    assert plan.options.get("chat_template_kwargs") == arguments
    assert plan.answer == answer
    assert plan.options.get("reasoning_format") == (
        "deepseek" if isinstance(answer, ServerParsedAnswer) else None
    )


@pytest.mark.parametrize(("level", "effort"), [("low", "low"), ("high", "high"), ("max", "high")])
def test_an_effort_is_sent_to_templates_that_take_one(level: str, effort: str) -> None:
    arguments = plan_chat(_request(pb.Think.ON, level), ALWAYS).options["chat_template_kwargs"]

    assert arguments == {"enable_thinking": True, "reasoning_effort": effort}
    assert plan_chat(_request(pb.Think.ON, level), QWEN).options["chat_template_kwargs"] == {
        "enable_thinking": True
    }


def test_tools_are_parsed_by_the_server_without_thinking_too() -> None:
    plan = plan_chat(_request(pb.Think.OFF, tools=1), QWEN)

    assert isinstance(plan.answer, ServerParsedAnswer)
    assert plan.options["tool_choice"] == "auto"


def test_tool_choice_none_offers_no_tools() -> None:
    request = _request(tools=1)
    request.tool_choice.mode = pb.ToolChoice.NONE

    assert isinstance(plan_chat(request, PLAIN).answer, PlainAnswer)


@pytest.mark.parametrize(
    ("request_", "what"), [(_request(tools=1), "tools"), (_request(pb.Think.ON), "thinking")]
)
def test_what_the_template_does_not_support_is_a_missing_capability(
    request_: pb.GenerateRequest, what: str
) -> None:
    with pytest.raises(CapabilityMissing, match=f"does not support {what}"):
        plan_chat(request_, PLAIN)


def test_without_the_servers_parser_thinking_is_switched_off() -> None:
    quiet = plan_chat(_request(), QWEN).without_server_parser(QWEN)

    assert isinstance(quiet.answer, PlainAnswer)
    assert quiet.options["chat_template_kwargs"] == {"enable_thinking": False}
    with pytest.raises(CapabilityMissing, match="always thinks"):
        plan_chat(_request(), ALWAYS).without_server_parser(ALWAYS)
    plain = ChatPlan()
    assert plain.without_server_parser(PLAIN) is plain


def test_keywords_that_a_forced_calls_grammar_drops_are_not_honoured() -> None:
    schema = '{"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": true}}}'
    request = _request()
    request.chat.tools.add(name="f", parameters_json=schema)
    assert list(plan_chat(request, QWEN).not_honoured) == []
    request.tool_choice.mode = pb.ToolChoice.REQUIRED

    assert list(plan_chat(request, QWEN).not_honoured) == ["tools.uniqueItems"]
