"""Anthropic's bodies to neutral requests."""

from __future__ import annotations

import base64

import pytest

from drover.errors import InvalidRequest, NotOffered
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.request import MessagesRequest
from frontend.api.core.request import Message, ToolCall
from frontend.api.core.thinking import Think
from tests.support.cpu_time import within_cpu

_EFFORT = "output_config.effort"
PIXEL = b"\x89PNG"
IMAGE: dict[str, Json] = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()},
}
WEATHER: dict[str, Json] = {
    "name": "weather",
    "description": "Tells it",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "cache_control": {"type": "ephemeral"},
}
CALL: dict[str, Json] = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}


def read(messages: Json = None, **more: Json) -> MessagesRequest:
    turns: Json = [{"role": "user", "content": "hi"}] if messages is None else messages
    return MessagesRequest.read({"model": "m", "max_tokens": 5, "messages": turns, **more})


def messages_of(*blocks: Json, role: str = "user") -> list[Message]:
    return read([{"role": role, "content": [*blocks]}]).chat.messages


def test_defaults_of_a_request() -> None:
    request = read()

    assert request.chat.messages == [Message(role="user", content="hi")]
    assert (request.chat.model, request.chat.stream) == ("m", False)
    assert request.chat.options == {"num_predict": 5}


def test_fields_override_options() -> None:
    request = read(
        temperature=0.5,
        top_p=0.1,
        top_k=3,
        stop_sequences=["END"],
        options={"num_ctx": 4096, "temperature": 1},
        keep_alive="5m",
        truncate=False,
    )

    assert request.chat.options == {
        "num_ctx": 4096,
        "temperature": 0.5,
        "top_p": 0.1,
        "top_k": 3,
        "num_predict": 5,
        "stop": ["END"],
    }
    assert request.stop_sequences == ["END"]
    assert request.chat.keep_alive == 300_000_000_000
    assert (request.chat.truncate, read().chat.truncate) == (False, True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (None, "model is required"),
        ({"model": "m"}, "max_tokens is required and must be positive"),
        ({"model": "m", "max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"model": "m", "max_tokens": 3}, "messages is required"),
        ([], "json: cannot unmarshal array into Go value of type anthropic.MessagesRequest"),
    ],
)
def test_a_request_without_a_required_field_is_refused(body: Json, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        MessagesRequest.read(body)
    assert raised.value.message == message


def test_counting_tokens_needs_no_max_tokens() -> None:
    request = MessagesRequest.read_to_count({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    assert "num_predict" not in request.chat.options


def test_the_system_message_is_without_claude_code_s_billing_line() -> None:
    system: Json = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=4f1;"},
        {"type": "text", "text": "Be brief. ", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "Be kind."},
    ]

    assert read(system=system).chat.messages[0] == Message(role="system", content="Be brief. Be kind.")
    assert read(system="Be brief.").chat.messages[0] == Message(role="system", content="Be brief.")


def test_text_images_and_documents_are_one_message() -> None:
    document: Json = {"type": "document", "source": {"type": "text", "data": "A page."}}

    assert messages_of({"type": "text", "text": "See: "}, IMAGE, document) == [
        Message(role="user", content="See: A page.", images=[PIXEL])
    ]


def test_calls_and_results_become_messages() -> None:
    turns: Json = [
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "unsigned"}, CALL],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Well?"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": "22 C"}, IMAGE],
                },
            ],
        },
    ]

    assert read(turns).chat.messages[1:] == [
        Message(
            role="assistant", thinking="hm", tool_calls=[ToolCall("weather", '{"city":"Paris"}', "toolu_1")]
        ),
        Message(role="tool", content="22 C", images=[PIXEL], tool_name="weather", tool_call_id="toolu_1"),
        Message(role="user", content="Well?"),
    ]


def test_unknown_blocks_are_skipped() -> None:
    later: Json = {"type": "later", "text": {"a": 1}, "source": "s", "input": "q", "id": 5}
    assert messages_of(
        {"type": "redacted_thinking", "data": "xyz"}, later, {"type": "text", "text": "a"}
    ) == [Message(role="user", content="a")]


def test_search_results_become_text() -> None:
    """Their source is an address, unlike that of images."""
    found: Json = {
        "type": "search_result",
        "source": "https://example.com",
        "title": "A page",
        "content": [{"type": "text", "text": "It rains."}],
    }

    assert messages_of(found) == [Message(role="user", content="It rains.")]
    assert messages_of({"type": "tool_result", "tool_use_id": "1", "content": [found]}) == [
        Message(role="tool", content="It rains.", tool_call_id="1")
    ]


def test_nested_documents_are_skipped() -> None:
    """Anthropic's API does not nest them; recursion would exceed Python's stack."""
    block: Json = {"type": "text", "text": "a"}
    for _ in range(300):
        block = {"type": "document", "source": {"type": "content", "content": [block]}}

    assert messages_of(block) == [Message(role="user", content="")]


def test_many_blocks_are_read_in_linear_time() -> None:
    """Concatenated one by one they took 24 seconds."""
    block: Json = {"type": "text", "text": "x" * 20}
    with within_cpu(5):
        (message,) = messages_of(*[block] * 100_000)
    assert len(message.content) == 2_000_000


@pytest.mark.parametrize(
    ("role", "block"), [("user", {"type": "tool_result", "tool_use_id": "toolu_1"}), ("assistant", CALL)]
)
def test_calls_and_results_count_as_messages(role: str, block: dict[str, Json]) -> None:
    assert messages_of(*[block] * 9_000, role=role)
    with pytest.raises(InvalidRequest, match="messages: at most 20000 are possible"):
        messages_of(*[block] * 20_001, role=role)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            "invalid image source type: url. Only base64 images are supported.",
        ),
        ({"type": "image"}, "invalid image source"),
        ({"type": "tool_use", "name": "f"}, "tool_use block missing required 'id' field"),
        ({"type": "tool_use", "id": "1"}, "tool_use block missing required 'name' field"),
        (
            {"type": "document", "source": {"type": "url"}},
            "messages.0: invalid document source type: url. Only text is supported.",
        ),
        ("text", "messages.0.content.0: a block must be an object"),
    ],
)
def test_invalid_blocks_are_refused(block: Json, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        messages_of(block)
    assert raised.value.message == message


def test_roles_are_checked_in_any_letter_case() -> None:
    with pytest.raises(InvalidRequest, match=r'messages.0.role: "judge" is none of'):
        messages_of(role="judge")
    assert read([{"role": "System", "content": "Be brief."}]).chat.messages[0].role == "system"


def test_a_tool_s_schema_is_kept() -> None:
    (tool,) = read(tools=[WEATHER]).chat.tools

    assert (tool.name, tool.description) == ("weather", "Tells it")
    assert tool.parameters_json == '{"type":"object","properties":{"city":{"type":"string"}}}'


def test_tools_of_anthropic_s_servers_are_refused() -> None:
    with pytest.raises(NotOffered):
        read(tools=[{"type": "web_search_20250305", "name": "web_search"}])
    with pytest.raises(InvalidRequest, match="bash_20250124"):
        read(tools=[{"type": "bash_20250124", "name": "bash"}])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, pb.ToolChoice()),
        ({"type": "auto"}, pb.ToolChoice()),
        ({"type": "auto", "disable_parallel_tool_use": True}, pb.ToolChoice(parallel=False)),
        ({"type": "any"}, pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)),
        ({"type": "tool", "name": "weather"}, pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="weather")),
        ({"type": "none"}, pb.ToolChoice(mode=pb.ToolChoice.NONE)),
    ],
)
def test_the_tool_choice_is_set(choice: Json, expected: pb.ToolChoice) -> None:
    assert read(tools=[WEATHER], tool_choice=choice).tool_choice == expected


@pytest.mark.parametrize(
    ("tools", "choice"),
    [([], {"type": "any"}), ([WEATHER], {"type": "tool", "name": "now"}), ([WEATHER], {"type": "all"})],
)
def test_a_tool_choice_without_its_tool_is_refused(tools: Json, choice: Json) -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        read(tools=tools, tool_choice=choice)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, Think(True)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, Think(False)),
        ({"thinking": {"type": "adaptive"}}, Think(True)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
            Think(True, "xhigh", "high", _EFFORT),
        ),
        ({"output_config": {"effort": "low"}}, Think(True, "low", "low", _EFFORT)),
        ({"output_config": {"effort": "heroic"}}, Think(True, "heroic", "", _EFFORT)),
    ],
)
def test_thinking_and_effort_become_the_thinking_level(more: dict[str, Json], expected: Think | None) -> None:
    assert read(**more).chat.think == expected


@pytest.mark.parametrize("field", ["output_format", "output_config"])
def test_the_output_s_schema_becomes_the_format(field: str) -> None:
    schema: Json = {"type": "object", "properties": {}}
    wanted: Json = {"type": "json_schema", "schema": schema}

    more: Json = wanted if field == "output_format" else {"format": wanted}

    assert read(**{field: more}).chat.format == schema
