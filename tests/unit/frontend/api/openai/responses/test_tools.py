"""Tools of the Responses API: offered, chosen, and their calls in the history."""

from __future__ import annotations

import base64
import json

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.request import Message, Tool, ToolCall
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


def read(input_: Json = "hi", **more: Json) -> ResponsesRequest:
    return ResponsesRequest.read({"model": "m", "input": input_, **more})


def refusal(input_: Json = "hi", **more: Json) -> str:
    with pytest.raises(InvalidRequest) as raised:
        read(input_, **more)
    return raised.value.message


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
