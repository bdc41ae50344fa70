"""Bodies of the Responses API to neutral requests."""

from __future__ import annotations

import base64
import json

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.request import Message, Tool, ToolCall
from frontend.api.core.thinking import Think
from frontend.api.openai.responses.calls import Origin, ToolKind
from frontend.api.openai.responses.request import ResponsesRequest

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


def test_tools_are_offered_and_echoed() -> None:
    request = read(tools=[WEATHER, CRM, {"type": "web_search"}])

    assert [tool.name for tool in request.chat.tools] == ["weather", "crm.find"]
    assert request.tools.origins == {"weather": Origin("weather"), "crm.find": Origin("find", "crm")}
    assert request.tools.ignored == ["tools.web_search"]
    assert request.echo["tools"] == [
        {
            "type": "function",
            "name": "weather",
            "description": None,
            "strict": None,
            "parameters": SCHEMA,
        },
        {
            "type": "namespace",
            "name": "crm",
            "description": "Customers",
            "tools": [
                {
                    "type": "function",
                    "name": "find",
                    "description": None,
                    "strict": None,
                    "parameters": None,
                }
            ],
        },
        {"type": "web_search"},
    ]


def test_tools_in_namespaces_count_towards_the_limit() -> None:
    many: Json = {**CRM, "tools": [{"type": "function", "name": "find"}] * 2_000}
    assert refusal(tools=[many]) == "tools: at most 2000 are possible"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, pb.ToolChoice()),
        ("auto", pb.ToolChoice()),
        ("none", pb.ToolChoice(mode=pb.ToolChoice.NONE)),
        ("required", pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)),
        (
            {"type": "function", "name": "weather"},
            pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="weather"),
        ),
        (
            {"type": "function", "name": "find", "namespace": "crm"},
            pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="crm.find"),
        ),
    ],
)
def test_the_tool_choice_is_set(choice: Json, expected: pb.ToolChoice) -> None:
    assert read(tools=[WEATHER, CRM], tool_choice=choice).tool_choice == expected


def test_allowed_tools_restrict_the_offered_ones() -> None:
    choice: Json = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "weather"}],
    }
    request = read(tools=[WEATHER, CRM], tool_choice=choice, parallel_tool_calls=False)

    assert [tool.name for tool in request.chat.tools] == ["weather"]
    assert request.tool_choice == pb.ToolChoice(mode=pb.ToolChoice.REQUIRED, parallel=False)


@pytest.mark.parametrize("choice", ["all", {"type": "function", "name": "now"}, {"type": "web_search"}])
def test_a_tool_choice_without_its_tool_is_refused(choice: Json) -> None:
    assert refusal(tools=[WEATHER], tool_choice=choice).startswith("tool_choice")
    assert refusal(tool_choice="required").startswith("tool_choice")


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


PATCH: dict[str, Json] = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
}
EXEC: dict[str, Json] = {"type": "custom", "name": "exec"}
SEARCH: dict[str, Json] = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
}


def test_a_custom_tool_is_offered_as_a_function_with_one_text() -> None:
    request = read(tools=[PATCH])

    (tool,) = request.chat.tools
    assert tool.name == "apply_patch"
    assert tool.description.startswith("Edits files.\n\n")
    assert tool.description.endswith("\nstart: /.+/")
    assert json.loads(tool.parameters_json) == {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }
    assert (tool.input_syntax, tool.input_grammar) == ("lark", "start: /.+/")
    assert request.tools.origins == {"apply_patch": Origin("apply_patch", kind=ToolKind.CUSTOM)}
    assert request.echo["tools"] == [PATCH]
    assert request.ignored == []


@pytest.mark.parametrize(
    ("wanted", "syntax", "ignored"),
    [
        ({"type": "text"}, "", []),
        ({"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}}, "regex", []),
        ({"type": "grammar", "syntax": "ebnf", "definition": "a"}, "", ["tools.format"]),
        ({"type": "x"}, "", ["tools.format"]),
    ],
)
def test_formats_of_custom_tools(wanted: Json, syntax: str, ignored: list[str]) -> None:
    request = read(tools=[{**PATCH, "format": wanted}])

    assert request.chat.tools[0].input_syntax == syntax
    assert request.ignored == ignored


def test_tools_of_an_item_are_offered_after_those_of_the_request() -> None:
    functions: Json = {"type": "namespace", "name": "functions", "tools": [EXEC, WEATHER]}
    item: Json = {
        "type": "additional_tools",
        "role": "developer",
        "tools": [functions, CRM, {"type": "web_search"}],
    }
    late: Json = {"type": "additional_tools", "role": "developer", "tools": [{**PATCH, "format": None}, CRM]}
    request = read([item, {"role": "user", "content": "go"}, late], tools=[SEARCH])

    assert [tool.name for tool in request.chat.tools] == [
        "tool_search",
        "exec",
        "weather",
        "crm.find",
        "apply_patch",
    ]
    assert request.tools.origins["exec"] == Origin("exec", "functions", ToolKind.CUSTOM)
    assert request.tools.origins["weather"] == Origin("weather", "functions")
    assert request.chat.messages == [Message("user", "go")]
    assert request.ignored == ["tools.web_search"]
    assert request.echo["tools"] == [SEARCH]


def test_calls_of_custom_tools_are_read_back_as_they_were_made() -> None:
    items: Json = [
        {"role": "user", "content": "go"},
        {
            "type": "custom_tool_call",
            "id": "ctc_1",
            "call_id": "1",
            "name": "apply_patch",
            "input": 'a "b"\n',
        },
        {"type": "custom_tool_call", "call_id": "2", "namespace": "functions", "name": "exec", "input": ""},
        {"type": "custom_tool_call", "call_id": "3", "namespace": "crm", "name": "exec", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "1", "output": "Done."},
        {
            "type": "custom_tool_call_output",
            "call_id": "2",
            "output": [{"type": "input_text", "text": "A"}, {"type": "input_text", "text": "B"}],
        },
    ]
    request = read(items)

    assert request.chat.messages[1:] == [
        Message(
            "assistant",
            tool_calls=[
                ToolCall("apply_patch", '{"input":"a \\"b\\"\\n"}', "1"),
                ToolCall("exec", '{"input":""}', "2"),
                ToolCall("crm.exec", '{"input":"x"}', "3"),
            ],
        ),
        Message("tool", "Done.", tool_name="apply_patch", tool_call_id="1"),
        Message("tool", "AB", tool_name="exec", tool_call_id="2"),
    ]
    assert request.ignored == []


def test_tools_that_a_search_found_may_be_called_and_are_defined_in_its_result() -> None:
    items: Json = [
        {"role": "user", "content": "go"},
        {
            "type": "tool_search_call",
            "call_id": "1",
            "execution": "client",
            "arguments": {"query": "customers"},
        },
        {"type": "tool_search_output", "call_id": "1", "execution": "client", "tools": [CRM]},
    ]
    request = read(items, tools=[SEARCH, WEATHER])

    search, weather, find = request.chat.tools
    assert (search.name, search.description, search.unlisted) == ("tool_search", "Finds tools.", False)
    assert not weather.unlisted
    assert find == Tool("crm.find", "", "", unlisted=True)
    call, result = request.chat.messages[1:]
    assert call.tool_calls == [ToolCall("tool_search", '{"query":"customers"}', "1")]
    assert (result.role, result.tool_name, result.tool_call_id) == ("tool", "tool_search", "1")
    assert '"name":"crm.find"' in result.content
    assert request.tools.origins["tool_search"].kind is ToolKind.SEARCH


def test_tools_that_many_searches_found_again_count_once() -> None:
    found: Json = {"type": "tool_search_output", "call_id": "1", "execution": "client", "tools": [CRM]}
    assert len(read([found] * 3_000).chat.tools) == 1


def test_a_tool_that_must_be_called_is_listed() -> None:
    found: Json = {"type": "tool_search_output", "call_id": "1", "execution": "client", "tools": [CRM]}
    choice: Json = {"type": "function", "name": "find", "namespace": "crm"}

    assert [tool.unlisted for tool in read([found], tool_choice=choice).chat.tools] == [False]


def test_a_search_that_openai_s_servers_would_run_is_left_out() -> None:
    request = read(tools=[{"type": "tool_search"}, WEATHER])

    assert [tool.name for tool in request.chat.tools] == ["weather"]
    assert request.ignored == ["tools.tool_search"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "custom", "name": "apply_patch"}, "apply_patch"),
        ({"type": "custom", "name": "exec", "namespace": "functions"}, "exec"),
    ],
)
def test_a_custom_tool_may_be_chosen(choice: Json, expected: str) -> None:
    request = read(tools=[PATCH, EXEC], tool_choice=choice)
    assert request.tool_choice == pb.ToolChoice(mode=pb.ToolChoice.NAMED, name=expected)


@pytest.mark.parametrize(
    "kind",
    [
        "web_search",
        "web_search_preview",
        "local_shell",
        "shell",
        "apply_patch",
        "mcp",
        "code_interpreter",
        "image_generation",
        "file_search",
        "computer_use_preview",
        "x_tool",
    ],
)
def test_tools_of_openai_s_servers_are_left_out_wherever_they_are(kind: str) -> None:
    tool: Json = {"type": kind}
    item: Json = {"type": "additional_tools", "role": "developer", "tools": [tool]}
    inside: Json = {"type": "namespace", "name": "x", "tools": [tool]}

    question: Json = {"role": "user", "content": "hi"}
    for request in (read(tools=[tool]), read([item, question]), read(tools=[inside])):
        assert request.chat.tools == []
        assert request.ignored == [f"tools.{kind}"]


def test_unknown_parts_are_kept_as_text() -> None:
    request = read([{"role": "user", "content": [{"type": "x_part", "text": "hi"}, {"type": "y", "z": [1]}]}])

    assert request.chat.messages == [Message("user", '[x_part]\nhi\n[y]\n{"z":[1]}\n')]
    assert request.ignored == ["content.x_part", "content.y"]
