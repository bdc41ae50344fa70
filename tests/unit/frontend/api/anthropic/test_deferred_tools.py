"""Deferred tools, and tool results with other parts than text."""

from __future__ import annotations

import json

import pytest

from drover.errors import InvalidRequest
from drover.json_value import Json
from frontend.api.anthropic.request import MessagesRequest
from frontend.api.core.request import Message, ToolCall

_SCHEMA: dict[str, Json] = {"type": "object", "properties": {"city": {"type": "string"}}}
_SEARCH: dict[str, Json] = {"name": "search", "input_schema": {"type": "object"}}
_WEATHER: dict[str, Json] = {
    "name": "weather",
    "description": "Tells it.",
    "input_schema": _SCHEMA,
    "defer_loading": True,
}
_NEWS: dict[str, Json] = {"name": "news", "input_schema": _SCHEMA, "defer_loading": True}


def read(*blocks: Json, role: str = "user", **more: Json) -> MessagesRequest:
    turns: Json = [{"role": role, "content": [*blocks]}]
    return MessagesRequest.read({"model": "m", "max_tokens": 5, "messages": turns, **more})


def result(content: Json, kind: str = "tool_result", **more: Json) -> Json:
    return {"type": kind, "tool_use_id": "1", "content": content, **more}


def text_of(block: Json) -> str:
    return read(block).chat.messages[0].content


def offered(request: MessagesRequest) -> list[tuple[str, bool]]:
    return [(tool.name, tool.unlisted) for tool in request.chat.tools]


def test_deferred_tools_are_not_offered() -> None:
    request = read({"type": "text", "text": "hi"}, tools=[_SEARCH, _WEATHER, _NEWS])
    assert offered(request) == [("search", False)]
    assert request.ignored == []


@pytest.mark.parametrize("kind", ["tool_result", "mcp_tool_result"])
def test_a_reference_is_replaced_by_the_tool_s_definition(kind: str) -> None:
    content: Json = [
        {"type": "text", "text": "Found:\n"},
        {"type": "tool_reference", "tool_name": "weather"},
        {"type": "tool_reference", "tool_name": "weather"},
    ]
    request = read(result(content, kind), tools=[_SEARCH, _WEATHER, _NEWS])

    (message,) = request.chat.messages
    assert message.role == "tool"
    intro, first, second = message.content.split("<function>")
    assert (intro, first) == ("Found:\n", second)
    definition: Json = {"description": "Tells it.", "name": "weather", "parameters": _SCHEMA}
    assert json.loads(first.removesuffix("</function>\n")) == definition
    assert offered(request) == [("search", False), ("weather", True)]


def test_a_reference_does_not_change_the_list_of_tools() -> None:
    before = read({"type": "text", "text": "hi"}, tools=[_SEARCH, _WEATHER])
    after = read(result([{"type": "tool_reference", "tool_name": "weather"}]), tools=[_SEARCH, _WEATHER])

    assert [tool for tool in after.chat.tools if not tool.unlisted] == before.chat.tools


def test_a_reference_to_an_unknown_tool_is_replaced_by_its_name() -> None:
    request = read(result([{"type": "tool_reference", "tool_name": "gone"}]), tools=[_SEARCH])
    assert request.chat.messages[0].content == "gone\n"
    assert offered(request) == [("search", False)]


def test_a_deferred_tool_that_must_be_called_is_listed() -> None:
    request = read(
        {"type": "text", "text": "hi"},
        tools=[_SEARCH, _WEATHER],
        tool_choice={"type": "tool", "name": "weather"},
    )
    assert offered(request) == [("search", False), ("weather", False)]


def test_with_anthropic_s_search_tool_all_tools_are_listed() -> None:
    search: Json = {"type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25"}
    request = read({"type": "text", "text": "hi"}, tools=[search, _WEATHER, _NEWS])

    assert offered(request) == [("weather", False), ("news", False)]
    assert request.ignored == ["tools.tool_search_tool_bm25_20251119"]


def test_a_result_of_anthropic_s_search_loads_its_tools() -> None:
    found: Json = {
        "type": "tool_search_tool_search_result",
        "tool_references": [{"type": "tool_reference", "tool_name": "weather"}],
    }
    request = read(result(found, "tool_search_tool_result"), role="assistant", tools=[_SEARCH, _WEATHER])

    assert "<function>" in request.chat.messages[-1].content
    assert offered(request) == [("search", False), ("weather", True)]


def test_messages_add_and_remove_tools() -> None:
    added: Json = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": _NEWS}}
    known: Json = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "weather"}}
    removed: Json = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "weather"}}
    request = read(added, known, removed, role="system", tools=[_SEARCH, _WEATHER])

    assert request.chat.messages[0].content.count("<function>") == 2
    assert request.chat.messages[0].content.endswith("The tool weather cannot be called any more.\n")
    assert offered(request) == [("search", False), ("news", True)]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("no such file", "Error: no such file"),
        ([{"type": "text", "text": "no such file"}], "Error: no such file"),
        (None, "Error"),
        ("Error: exit 1", "Error: exit 1"),
        ("<tool_use_error>bad</tool_use_error>", "<tool_use_error>bad</tool_use_error>"),
    ],
)
@pytest.mark.parametrize("kind", ["tool_result", "mcp_tool_result"])
def test_the_failure_of_a_tool_is_in_the_result_s_text(content: Json, text: str, kind: str) -> None:
    assert text_of(result(content, kind, is_error=True)) == text
    assert not text_of(result("fine", kind, is_error=False)).startswith("Error")


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        (
            "code_execution_tool_result",
            {"type": "code_execution_result", "stdout": "4\n", "stderr": "", "return_code": 0, "content": []},
            "4\n",
        ),
        (
            "bash_code_execution_tool_result",
            {"type": "bash_code_execution_result", "stdout": "", "stderr": "oh", "return_code": 2},
            "oh\nreturn code 2",
        ),
        (
            "code_execution_tool_result",
            {"type": "code_execution_tool_result_error", "error_code": "unavailable"},
            "code_execution_tool_result_error: unavailable",
        ),
        (
            "text_editor_code_execution_tool_result",
            {"type": "text_editor_code_execution_create_result", "is_file_update": True},
            '{"is_file_update":true}',
        ),
        (
            "web_fetch_tool_result",
            {
                "type": "web_fetch_result",
                "url": "https://example.com",
                "content": {"type": "document", "source": {"type": "text", "data": "It rains."}},
            },
            "https://example.com\nIt rains.",
        ),
        (
            "web_search_tool_result",
            [{"type": "web_search_result", "title": "A", "url": "https://example.com"}],
            "- A: https://example.com\n",
        ),
        ("mcp_tool_result", [{"type": "text", "text": "42"}], "42"),
    ],
)
def test_results_of_every_type_become_text(kind: str, content: Json, text: str) -> None:
    use: Json = {"type": "server_tool_use", "id": "1", "name": "run", "input": {"code": "2+2"}}
    called, answered = read(use, result(content, kind), role="assistant").chat.messages

    assert called.tool_calls == [ToolCall("run", '{"code":"2+2"}', "1")]
    assert answered == Message("tool", text, tool_name="run", tool_call_id="1")


def test_a_call_of_an_mcp_tool_is_an_ordinary_call() -> None:
    use: Json = {"type": "mcp_tool_use", "id": "1", "name": "look", "server_name": "s", "input": {}}
    assert read(use, role="assistant").chat.messages[0].tool_calls == [ToolCall("look", "{}", "1")]


@pytest.mark.parametrize(
    ("sent", "arguments"),
    [('{"a": "b', '{"a": "b'), ("", ""), ([1], "[1]"), (None, "{}"), ({"a": 1}, '{"a":1}')],
)
def test_arguments_of_calls_may_be_any_value(sent: Json, arguments: str) -> None:
    use: Json = {"type": "tool_use", "id": "1", "name": "f", "input": sent}
    assert read(use, role="assistant").chat.messages[0].tool_calls == [ToolCall("f", arguments, "1")]


def test_a_compaction_is_a_text() -> None:
    assert text_of({"type": "compaction", "content": "They spoke of Paris."}) == "They spoke of Paris."


def test_skipped_blocks_are_named() -> None:
    later: Json = {"type": "later", "text": 1}
    request = read(later, {"type": "redacted_thinking", "data": "x"}, result([later]))
    assert request.ignored == ["content.later", "content.later"]


def test_an_invalid_definition_is_refused() -> None:
    added: Json = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": ""}}}
    with pytest.raises(InvalidRequest, match="tool_addition: name is required"):
        read(added, role="system")


_NOTE = "[A document was left out: only text can be read here.]"


@pytest.mark.parametrize("source", ["base64", "url", "file"])
def test_an_unreadable_document_in_a_result_is_replaced_by_a_note(source: str) -> None:
    pdf: Json = {
        "type": "document",
        "source": {"type": source, "media_type": "application/pdf", "data": "JVBE"},
    }
    request = read(result([{"type": "text", "text": "Read it. "}, pdf]))

    assert request.chat.messages[0].content == f"Read it. {_NOTE}"
    assert request.ignored == ["tool_result.document"]

    page: Json = {"type": "web_fetch_result", "url": "http://a.example/b.pdf", "content": pdf}
    fetched = read(result(page, "web_fetch_tool_result"))
    assert fetched.chat.messages[0].content == f"http://a.example/b.pdf\n{_NOTE}"


def test_an_unreadable_document_of_the_user_is_refused() -> None:
    pdf: Json = {"type": "document", "source": {"type": "base64", "data": "JVBE"}}
    with pytest.raises(InvalidRequest, match="Only text is supported"):
        read(pdf)
