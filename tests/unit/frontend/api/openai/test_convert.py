"""OpenAI's bodies to neutral requests, field by field."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.request import ChatRequest, Message, ToolCall
from frontend.api.core.thinking import Think
from frontend.api.openai.convert import (
    set_choice_sampling,
    set_tokens,
    set_tool_choice,
    to_chat_request,
    to_generate_request,
)
from frontend.api.openai.request import ChatCompletionRequest, CompletionRequest

_MESSAGES: Json = [{"role": "user", "content": "hi"}]
_TOOLS: Json = [{"type": "function", "function": {"name": "f"}}, {"function": {"name": "g"}}]
_PICTURE = base64.b64encode(b"picture").decode()


def _read(**body: Json) -> ChatCompletionRequest:
    return ChatCompletionRequest.read({"model": "m", "messages": _MESSAGES, **body})


def _converted(**body: Json) -> ChatRequest:
    return to_chat_request(_read(**body))


def _messages(*messages: Json) -> list[Message]:
    return _converted(messages=[*messages]).messages


def test_temperature_and_top_p_default_to_1() -> None:
    assert _converted().options == {"temperature": 1.0, "top_p": 1.0}
    assert _converted(temperature=None, top_p=0.5).options == {"temperature": 1.0, "top_p": 0.5}


def test_a_request_is_not_streamed_by_default() -> None:
    assert not _converted().stream
    assert _converted(stream=True).stream


def test_fields_override_options_and_options_override_forced_defaults() -> None:
    options = _converted(
        max_tokens=3,
        seed=7,
        num_ctx=64,
        frequency_penalty=0.5,
        presence_penalty=1,
        options={"temperature": 0, "top_k": 5, "num_predict": 9, "num_ctx": 32, "seed": None},
    ).options

    assert options == {
        "temperature": 0,
        "top_p": 1.0,
        "top_k": 5,
        "num_predict": 3,
        "num_ctx": 64,
        "seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": 1,
    }


def test_max_completion_tokens_takes_precedence() -> None:
    assert _converted(max_tokens=3, max_completion_tokens=2).options["num_predict"] == 2


@pytest.mark.parametrize(("stop", "stops"), [("x", ["x"]), (["x", "y"], ["x", "y"]), (["x", 1], ["x"])])
def test_stop_texts_without_other_types(stop: Json, stops: list[str]) -> None:
    assert _converted(stop=stop).options["stop"] == stops


def test_a_completion_refuses_stop_items_of_other_types() -> None:
    with pytest.raises(InvalidRequest, match="invalid type for 'stop' field"):
        to_generate_request(CompletionRequest.read({"stop": ["x", 1]}), "hi")


@pytest.mark.parametrize(
    ("response_format", "wanted"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}, {"type": "object"}),
        ({"type": "text"}, None),
        ({"type": "else"}, None),
        (None, None),
    ],
)  # fmt: skip
def test_the_response_format_becomes_the_format(response_format: Json, wanted: Json) -> None:
    assert _converted(response_format=response_format).format == wanted


@pytest.mark.parametrize(
    ("effort", "think"),
    [
        ("none", Think(enabled=False)),
        ("minimal", Think(True, "minimal", alias="low", field="reasoning_effort")),
        ("high", Think(True, "high", alias="high", field="reasoning_effort")),
        ("xhigh", Think(True, "xhigh", alias="max", field="reasoning_effort")),
        ("wizard", Think(True, "wizard", alias="", field="reasoning_effort")),
        (None, None),
        ("", None),
    ],
)
def test_the_effort_becomes_the_thinking_level(effort: Json, think: Think | None) -> None:
    assert _converted(reasoning_effort=effort).think == think
    within = _converted(reasoning={"effort": effort}).think
    assert within == (replace(think, field="reasoning.effort") if think and think.enabled else think)


def test_the_effort_in_reasoning_takes_precedence() -> None:
    think = _converted(reasoning={"effort": "low"}, reasoning_effort="high").think
    assert think == Think(True, "low", "low", "reasoning.effort")
    with pytest.raises(
        InvalidRequest, match=r"cannot unmarshal number into Go struct field Reasoning\.effort"
    ):
        _converted(reasoning={"effort": 5})


def test_parts_are_joined_to_one_message() -> None:
    (message,) = _messages(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "one"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PICTURE}"}},
                {"type": "text", "text": "two"},
                {"type": "image_url", "image_url": f"data:;base64,{_PICTURE}"},
            ],
        }
    )

    assert message == Message("user", "one\ntwo", images=[b"picture", b"picture"])


def test_calls_and_results_become_messages() -> None:
    call: Json = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1, "a": 2}'}}
    messages = _messages(
        {"role": "Assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm"},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "Rain."}]},
    )

    assert messages == [
        Message("assistant", thinking="hm", tool_calls=[ToolCall("f", '{"b":1,"a":2}', "c1")]),
        Message("tool", "Rain.", tool_name="f", tool_call_id="c1"),
    ]


@pytest.mark.parametrize("arguments", ['{"a": "b', "[]", "null", "no JSON", '{"a":' * 300 + "1" + "}" * 300])
def test_arguments_of_calls_may_be_any_text(arguments: str) -> None:
    """OpenAI accepts any; a conversation with a call that was cut off must be possible to continue."""
    call: Json = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = _messages({"role": "assistant", "tool_calls": [call]})[0]
    assert message.tool_calls == [ToolCall("f", arguments, "c")]


def test_function_call_is_read_as_a_tool_call() -> None:
    messages = _messages(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"a":1}'}},
        {"role": "function", "name": "f", "content": "Rain."},
    )
    assert messages == [
        Message("assistant", tool_calls=[ToolCall("f", '{"a":1}')]),
        Message("tool", "Rain.", tool_name="f"),
    ]


def test_a_refusal_is_the_message_s_content() -> None:
    assert _messages({"role": "assistant", "content": None, "refusal": "No."}) == [
        Message("assistant", "No.")
    ]


def test_the_role_developer_becomes_system() -> None:
    assert _messages({"role": "developer", "content": "x"})[0].role == "system"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"role": "user", "content": None}, "invalid message content type: <nil>"),
        ({"role": "user", "content": 5}, "invalid message content type: float64"),
        ({"role": "user", "content": {}}, r"invalid message content type: map\[string\]interface {}"),
        ({"content": ["x"]}, "invalid message format"),
        ({"content": [{"type": "video"}]}, "invalid message format"),
        ({"content": [{"type": "image_url", "image_url": "https://x/y.png"}]}, "image URLs are not"),
        ({"content": [{"type": "image_url", "image_url": "data:image/gif;base64,YQ=="}]}, "invalid image"),
        ({"content": [{"type": "image_url", "image_url": "data:image/png;base64,?"}]}, "invalid image"),
    ],
)
def test_invalid_messages_are_refused(message: Json, error: str) -> None:
    with pytest.raises(InvalidRequest, match=error):
        _messages(message)


@pytest.mark.parametrize(
    ("wanted", "mode", "name"),
    [
        ("none", pb.ToolChoice.NONE, ""),
        ("auto", pb.ToolChoice.AUTO, ""),
        ("required", pb.ToolChoice.REQUIRED, ""),
        ({"type": "function", "function": {"name": "g"}}, pb.ToolChoice.NAMED, "g"),
    ],
)
def test_the_tool_choice_is_set(wanted: Json, mode: pb.ToolChoice.Mode.ValueType, name: str) -> None:
    request = pb.GenerateRequest()

    set_tool_choice(request, _read(tools=_TOOLS, tool_choice=wanted, parallel_tool_calls=False))

    assert (request.tool_choice.mode, request.tool_choice.name) == (mode, name)
    assert request.tool_choice.HasField("parallel")
    assert not request.tool_choice.parallel


@pytest.mark.parametrize(
    ("tools", "wanted"),
    [
        ([], "required"),
        (_TOOLS, {"type": "function", "function": {"name": "h"}}),
        (_TOOLS, "always"),
        (_TOOLS, {"type": "function"}),
    ],
)
def test_a_tool_choice_without_its_tool_is_refused(tools: Json, wanted: Json) -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        set_tool_choice(pb.GenerateRequest(), _read(tools=tools, tool_choice=wanted))


def test_each_choice_adds_to_the_seed_and_has_the_logit_bias() -> None:
    body = _read(n=2, logit_bias={"5": -1, "7": 2.5})
    requests = [pb.GenerateRequest(sampling=pb.Sampling(seed=seed)) for seed in (7, 2**63 - 1, -1)]

    for request in requests:
        set_choice_sampling(request, body, choice=1, caller="")

    assert [request.sampling.seed for request in requests] == [8, 0, -1]
    assert requests[0].sampling.logit_bias == {5: -1.0, 7: 2.5}


def test_fields_without_effect_are_named() -> None:
    none, all_of_them = pb.Capabilities(), pb.Capabilities(logit_bias=True)

    assert _read(logit_bias={"1": 1}).not_honoured(none) == ["logit_bias"]
    assert _read(logit_bias={"1": 1}).not_honoured(all_of_them) == []
    completion = CompletionRequest.read({"echo": True, "best_of": 3, "n": 2})
    assert completion.not_honoured(all_of_them) == ["echo", "best_of"]


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", ["a"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        (None, [""]),
    ],
)
def test_prompts_are_texts_or_token_ids(prompt: Json, prompts: list[str | list[int]]) -> None:
    assert CompletionRequest.read({"prompt": prompt}).prompts == prompts


@pytest.mark.parametrize("prompt", [[], [None], [-1], [1.5], [[]], ["a", 1], [True], 5, {}])
def test_invalid_prompts_are_refused(prompt: Json) -> None:
    with pytest.raises(InvalidRequest):
        CompletionRequest.read({"prompt": prompt})


def test_token_ids_replace_the_prompt() -> None:
    request = pb.GenerateRequest(raw="")

    set_tokens(request, [1, 2])

    assert (request.WhichOneof("input"), list(request.tokens.ids)) == ("tokens", [1, 2])


@pytest.mark.parametrize(
    "field",
    [
        {"n": 0},
        {"n": 129},
        {"n": True},
        {"logit_bias": {"x": 1}},
        {"logit_bias": {"1" * 5_000: 1}},
        {"logit_bias": {"4294967296": 1}},
        {"logit_bias": {"٣": 1}},
        {"logit_bias": {"1": 101}},
        {"logit_bias": {"1": "a"}},
        {"temperature": "hot"},
        {"stop": 5},
        {"stream_options": []},
        {"messages": []},
    ],
)
def test_invalid_values_are_refused(field: dict[str, Json]) -> None:
    with pytest.raises(InvalidRequest):
        _converted(**field)
