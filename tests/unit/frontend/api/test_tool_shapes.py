"""Tools and tool choices in the shape of any dialect, on the routes of each."""

from __future__ import annotations

import json

import pytest

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker, content, default_model, done, started
from tests.unit.frontend.api.conftest import Start

_SCHEMA: dict[str, Json] = {"type": "object", "properties": {"a": {"type": "string"}}}
_SHAPES: dict[str, Json] = {
    "nested": {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA}},
    "nested without a type": {"function": {"name": "f", "description": "d", "parameters": _SCHEMA}},
    "flat": {"type": "function", "name": "f", "description": "d", "parameters": _SCHEMA},
    "flat without a type": {"name": "f", "description": "d", "parameters": _SCHEMA},
    "anthropic": {"name": "f", "description": "d", "input_schema": _SCHEMA},
    "anthropic custom": {"type": "custom", "name": "f", "description": "d", "input_schema": _SCHEMA},
    "mcp": {"name": "f", "description": "d", "inputSchema": _SCHEMA},
}
_TURNS: Json = [{"role": "user", "content": "x"}]
_BODIES: dict[str, dict[str, Json]] = {
    "/api/chat": {"model": "m", "messages": _TURNS},
    "/v1/chat/completions": {"model": "m", "messages": _TURNS},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": _TURNS},
}
_PATHS = pytest.mark.parametrize("path", sorted(_BODIES))
_WITH_CHOICE = pytest.mark.parametrize("path", sorted(_BODIES.keys() - {"/api/chat"}))


def _able() -> StallingWorker:
    model = default_model()
    model.capabilities.tools = True
    return StallingWorker(described=model, steps=[started(), content("a"), done()])


async def _request(start: Start, path: str, more: dict[str, Json]) -> pb.GenerateRequest:
    async with start(_able()) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], **more})
        assert answer.status_code == 200, answer.text
        return (await frontend.handle()).request


@_PATHS
@pytest.mark.parametrize("shape", sorted(_SHAPES))
async def test_a_function_in_any_shape_is_read(start: Start, path: str, shape: str) -> None:
    tool = (await _request(start, path, {"tools": [_SHAPES[shape]]})).chat.tools[0]
    assert (tool.name, tool.description, json.loads(tool.parameters_json)) == ("f", "d", _SCHEMA)


@_PATHS
@pytest.mark.parametrize(
    "tool",
    [
        {},
        None,
        {"type": "function"},
        {"type": "function", "function": {}},
        {"type": "function", "function": {"name": ""}},
        {"type": "function", "name": ""},
    ],
)
async def test_tools_without_a_name_are_refused(start: Start, path: str, tool: Json) -> None:
    async with start(_able()) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], "tools": [tool]})
        if answer.status_code == 200:
            # The Responses API leaves out what is no function, and says so.
            assert answer.headers["x-drover-not-honoured"] == "tools"
            assert not frontend.worker.handles[0].request.chat.tools
            return
    assert answer.status_code == 400
    assert "name" in answer.text


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("kind", ["custom", "web_fetch_20250910", "code_interpreter"])
async def test_other_tools_are_refused_by_type(start: Start, path: str, kind: str) -> None:
    async with start(_able()) as frontend:
        tools: Json = [{"type": kind, "custom": {"name": "x"}}]
        body: dict[str, Json] = {**_BODIES[path], "tools": tools}
        answer = await frontend.client.post(path, json=body)
    assert answer.status_code == 400
    assert kind in answer.text or "name" in answer.text


_TWO: list[Json] = [{"name": name, "input_schema": _SCHEMA} for name in ("f", "g")]


@_WITH_CHOICE
@pytest.mark.parametrize(
    "choice",
    [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "name": "f"},
        {"type": "tool", "name": "f"},
    ],
)
async def test_a_named_choice_in_any_shape_is_read(start: Start, path: str, choice: Json) -> None:
    request = await _request(start, path, {"tools": _TWO, "tool_choice": choice})
    assert (request.tool_choice.mode, request.tool_choice.name) == (pb.ToolChoice.NAMED, "f")


@_WITH_CHOICE
@pytest.mark.parametrize(
    ("choice", "mode"),
    [
        ("required", pb.ToolChoice.REQUIRED),
        ({"type": "any"}, pb.ToolChoice.REQUIRED),
        ({"type": "auto"}, pb.ToolChoice.AUTO),
        ("none", pb.ToolChoice.NONE),
        ({"type": "none"}, pb.ToolChoice.NONE),
    ],
)
async def test_other_choices_in_any_shape_are_read(
    start: Start, path: str, choice: Json, mode: pb.ToolChoice.Mode.ValueType
) -> None:
    assert (await _request(start, path, {"tools": _TWO, "tool_choice": choice})).tool_choice.mode == mode


_ALLOWED: list[Json] = [{"type": "function", "function": {"name": "g"}}]
_ALLOWED_FLAT: list[Json] = [{"type": "function", "name": "g"}]


@_WITH_CHOICE
@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize(
    "shape",
    [
        lambda mode: {"allowed_tools": {"mode": mode, "tools": _ALLOWED}},
        lambda mode: {"mode": mode, "tools": _ALLOWED_FLAT},
    ],
)
async def test_only_the_allowed_tools_are_offered(start: Start, path: str, mode: str, shape: object) -> None:
    assert callable(shape)
    choice: Json = {"type": "allowed_tools", **shape(mode)}
    request = await _request(start, path, {"tools": _TWO, "tool_choice": choice})

    assert [tool.name for tool in request.chat.tools] == ["g"]
    assert request.tool_choice.mode == {"auto": pb.ToolChoice.AUTO, "required": pb.ToolChoice.REQUIRED}[mode]


@_WITH_CHOICE
@pytest.mark.parametrize(
    "choice",
    [
        "sometimes",
        {"type": "function"},
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "mode": "auto"},
        {"type": "allowed_tools", "allowed_tools": {"mode": "perhaps", "tools": []}},
        {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "x"}]},
        {"type": "function", "name": "x"},
    ],
)
async def test_a_choice_that_no_tool_meets_is_refused(start: Start, path: str, choice: Json) -> None:
    body: dict[str, Json] = {**_BODIES[path], "tools": _TWO, "tool_choice": choice}
    async with start(_able()) as frontend:
        answer = await frontend.client.post(path, json=body)
    assert answer.status_code == 400
    assert "tool_choice" in answer.json()["error"]["message"]
