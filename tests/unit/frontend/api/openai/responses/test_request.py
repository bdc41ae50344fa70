"""Bodies of the Responses API to neutral requests."""

from __future__ import annotations

import base64

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.core.request import Message, ToolCall
from frontend.api.core.thinking import Think
from frontend.api.openai.responses.request import ResponsesRequest
from tests.support.cpu_time import within_cpu

PIXEL = b"\x89PNG"
IMAGE: Json = {
    "type": "input_image",
    "image_url": f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}",
}
SCHEMA: dict[str, Json] = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER: dict[str, Json] = {"type": "function", "name": "weather", "parameters": SCHEMA}
CRM: dict[str, Json] = {
    "type": "namespace",
    "name": "crm",
    "description": "Customers",
    "tools": [{"type": "function", "name": "find"}],
}


def read(input_: Json = "hi", **more: Json) -> ResponsesRequest:
    return ResponsesRequest.read({"model": "m", "input": input_, **more})


def refusal(input_: Json = "hi", **more: Json) -> str:
    with pytest.raises(InvalidRequest) as raised:
        read(input_, **more)
    return raised.value.message


def test_a_text_is_the_user_s_message() -> None:
    request = read(instructions="Be brief.")

    assert request.chat.messages == [
        Message(role="system", content="Be brief."),
        Message(role="user", content="hi"),
    ]
    assert request.chat.options == {"temperature": 1.0}
    assert not request.chat.stream


def test_fields_override_options() -> None:
    request = read(
        temperature=0, top_p=0.5, max_output_tokens=7, options={"top_k": 2, "temperature": 2}, num_ctx=99
    )

    assert request.chat.options == {
        "temperature": 0,
        "top_k": 2,
        "top_p": 0.5,
        "num_predict": 7,
        "num_ctx": 99,
    }


def test_parts_are_joined_to_one_message() -> None:
    parts: Json = [{"type": "input_text", "text": "See: "}, IMAGE, {"type": "output_text", "text": "it"}]

    assert read([{"role": "developer", "content": parts}]).chat.messages == [
        Message(role="system", content="See: it", images=[PIXEL])
    ]


def test_calls_and_results_become_messages() -> None:
    items: Json = [
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me look."}],
        },
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Paris"}'},
        {"type": "function_call", "call_id": "call_2", "name": "find", "namespace": "crm", "arguments": ""},
        {"type": "function_call_output", "call_id": "call_1", "output": "22 C"},
        {
            "type": "function_call_output",
            "call_id": "call_2",
            "output": [{"type": "input_text", "text": "A"}],
        },
    ]

    assert read(items).chat.messages[1:] == [
        Message(
            role="assistant",
            content="Let me look.",
            thinking="hm",
            tool_calls=[
                ToolCall("weather", '{"city":"Paris"}', "call_1"),
                ToolCall("crm.find", "{}", "call_2"),
            ],
        ),
        Message(role="tool", content="22 C", tool_name="weather", tool_call_id="call_1"),
        Message(role="tool", content="A", tool_name="crm.find", tool_call_id="call_2"),
    ]


def _reasoning(summary: str) -> Json:
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": summary}]}


def test_reasoning_stays_in_its_turn() -> None:
    call: Json = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    message: Json = {"role": "assistant", "content": "x"}

    cut_off = read([_reasoning("A"), _reasoning("B"), {"role": "user", "content": "hi"}, message])
    twice = read([_reasoning("A"), message, _reasoning("B"), call])

    assert cut_off.chat.messages == [
        Message(role="assistant", thinking="AB"),
        Message(role="user", content="hi"),
        Message(role="assistant", content="x"),
    ]
    assert twice.chat.messages == [
        Message(role="assistant", thinking="A", content="x"),
        Message(role="assistant", thinking="B", tool_calls=[ToolCall("f", "{}", "c")]),
    ]


def test_encrypted_content_is_the_thinking_of_the_next_call() -> None:
    items: Json = [
        {"type": "reasoning", "summary": [], "encrypted_content": "hm"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]

    assert read(items).chat.messages == [
        Message(role="assistant", thinking="hm", tool_calls=[ToolCall("f", "{}", "c")])
    ]


@pytest.mark.parametrize("arguments", ['{"a": "b', "[]", "null", "no JSON"])
def test_arguments_of_calls_may_be_any_text(arguments: str) -> None:
    item: Json = {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}
    assert read([item]).chat.messages[0].tool_calls == [ToolCall("f", arguments, "c")]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            {"type": "item_reference", "id": "x"},
            "input[0]: an item_reference cannot be followed, since nothing is stored here; send the items "
            "themselves, as clients do with store: false",
        ),
        ({}, "input[0]: input item missing required 'type' field"),
        (
            {"role": "user", "content": [{"type": "input_file", "file_id": "x"}]},
            "input[0]: file inputs are not currently supported",
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://example.com/a"}]},
            "image URLs are not currently supported, please use base64 encoded data instead",
        ),
    ],
)
def test_unsupported_items_are_refused(item: Json, message: str) -> None:
    assert refusal([item]) == message


def test_a_request_without_input_is_refused() -> None:
    assert refusal(7) == "input must be a string or array"
    assert refusal(None) == "input is required"


def test_references_to_stored_conversations_are_refused() -> None:
    assert refusal(conversation="conv_1").startswith("conversation: conversations are not stored here")


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        (None, None),
        ("none", Think(False)),
        ("minimal", Think(True, "minimal", alias="low", field="reasoning.effort")),
        ("medium", Think(True, "medium", alias="medium", field="reasoning.effort")),
        ("xhigh", Think(True, "xhigh", alias="max", field="reasoning.effort")),
        ("heroic", Think(True, "heroic", alias="", field="reasoning.effort")),
    ],
)
def test_the_effort_becomes_the_thinking_level(effort: Json, expected: Think | None) -> None:
    assert read(reasoning={"effort": effort}).chat.think == expected


def test_an_effort_of_another_type_is_refused() -> None:
    assert "Reasoning.effort of type string" in refusal(reasoning={"effort": 5})


def test_the_text_format_becomes_the_format() -> None:
    wanted: Json = {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}

    request = read(text={"format": wanted})

    assert request.chat.format == SCHEMA
    assert request.echo["text"] == {"format": wanted}
    assert read(text={"format": {"type": "json_object"}}).chat.format == "json"
    assert read().chat.format is None


@pytest.mark.parametrize(("truncation", "truncates"), [(None, True), ("auto", True), ("disabled", False)])
def test_the_echoed_truncation_is_the_one_applied(truncation: Json, truncates: bool) -> None:
    request = read(truncation=truncation)

    assert request.chat.truncate is truncates
    assert request.echo["truncation"] == ("auto" if truncates else "disabled")


def test_unknown_items_are_kept_as_text() -> None:
    items: Json = [
        {"role": "user", "content": "go"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "agent_message", "role": "assistant", "content": "I look."},
        {"type": "function_call_output", "call_id": "1", "output": "A"},
        {"type": "local_shell_call", "call_id": "3", "status": "completed", "action": {"command": ["ls"]}},
        {"type": "local_shell_call_output", "call_id": "3", "output": "notes.txt"},
    ]
    request = read(items)

    assert request.chat.messages == [
        Message("user", "go"),
        Message("assistant", "[agent_message]\nI look.", tool_calls=[ToolCall("f", "{}", "1")]),
        Message("tool", "A", tool_name="f", tool_call_id="1"),
        Message("assistant", '[local_shell_call]\n{"action":{"command":["ls"]}}'),
        Message("user", "[local_shell_call_output]\nnotes.txt"),
    ]
    assert request.ignored == [
        "agent_message",
        "local_shell_call",
        "local_shell_call_output",
    ]


def test_fields_of_unknown_items_may_have_any_type() -> None:
    item: Json = {"type": "x_call", "call_id": 7, "arguments": {"query": "x"}, "output": 1, "name": []}
    assert read([item]).chat.messages == [
        Message("assistant", '[x_call]\n{"arguments":{"query":"x"},"output":1}')
    ]


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": "a"},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": "A"},
        {"type": "custom_tool_call", "call_id": "1", "name": "f", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "1", "output": "A"},
        {"type": "tool_search_call", "call_id": "1", "arguments": {}, "execution": "client"},
        {"type": "tool_search_output", "call_id": "1", "tools": [], "execution": "client"},
        {"type": "reasoning", "summary": []},
        {"type": "additional_tools", "role": "developer", "tools": []},
        {"type": "web_search_call"},
        {"type": "x_item", "x": 1},
    ],
)
@pytest.mark.parametrize("more", [{"id": "x_1", "status": "completed"}, {"id": None, "status": None}])
def test_every_item_may_have_an_id_and_a_status(item: dict[str, Json], more: dict[str, Json]) -> None:
    question: Json = {"role": "user", "content": "hi"}
    sent: Json = {**item, **more, "internal_chat_message_metadata_passthrough": {"turn_id": "t"}}
    assert read([question, sent]).chat.messages == read([question, item]).chat.messages


def test_unknown_parts_are_kept_as_text() -> None:
    request = read([{"role": "user", "content": [{"type": "x_part", "text": "hi"}, {"type": "y", "z": [1]}]}])

    assert request.chat.messages == [Message("user", '[x_part]\nhi\n[y]\n{"z":[1]}\n')]
    assert request.ignored == ["content.x_part", "content.y"]


def test_thousands_of_items_that_are_kept_as_text_take_no_time() -> None:
    call: Json = {"type": "local_shell_call", "action": {"command": "x" * 1000}}

    with within_cpu(1.0):
        messages = read([call] * 10_000).chat.messages

    (only,) = messages
    assert only.content.count("[local_shell_call]\n") == 10_000


def test_files_in_items_that_are_kept_as_text_are_left_out() -> None:
    data = base64.b64encode(bytes(9000)).decode()
    image: Json = {"type": "image_generation_call", "id": "ig_1", "result": data}
    shot: Json = {"type": "computer_screenshot", "image_url": f"data:image/png;base64,{data}"}
    screen: Json = {"type": "computer_call_output", "call_id": "c", "output": shot}
    audio: Json = {"role": "user", "content": [{"type": "input_audio", "data": data}]}

    texts = [message.content for message in read([image, screen, audio]).chat.messages]

    assert texts[0] == "[image_generation_call]\n[data]"
    assert "data:image/png;base64,[data]" in texts[1]
    assert texts[2] == "[input_audio]\n[data]\n"


def test_a_text_that_is_added_stands_where_its_item_was() -> None:
    call: Json = {"type": "local_shell_call", "action": "ls"}
    said: Json = {"role": "assistant", "content": "I look."}

    messages = read([said, call, call, {"role": "user", "content": "Well?"}, call]).chat.messages

    shell = "[local_shell_call]\nls"
    assert [message.content for message in messages] == [f"I look.\n\n{shell}\n\n{shell}", "Well?", shell]
