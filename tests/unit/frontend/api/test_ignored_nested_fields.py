"""Fields without effect: within tools, and on routes that do not generate."""

from __future__ import annotations

import pytest

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker, content, default_model, done, started
from tests.unit.frontend.api.conftest import Start

_TURNS: Json = [{"role": "user", "content": "x"}]
_BODIES: dict[str, dict[str, Json]] = {
    "/api/chat": {"model": "m", "messages": _TURNS},
    "/v1/chat/completions": {"model": "m", "messages": _TURNS},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": _TURNS},
}
_OTHERS: dict[str, dict[str, Json]] = {
    "/api/embed": {"model": "m", "input": "x"},
    "/api/embeddings": {"model": "m", "prompt": "x"},
    "/v1/embeddings": {"model": "m", "input": "x"},
    "/api/tokenize": {"model": "m", "content": "x"},
    "/api/detokenize": {"model": "m", "tokens": [65]},
    "/v1/tokenize": {"model": "m", "prompt": "x"},
    "/v1/detokenize": {"model": "m", "tokens": [65]},
}
_PATHS = pytest.mark.parametrize("path", sorted(_BODIES))
_FORCED: dict[str, Json] = {"type": "tool", "name": "f"}


async def _names(start: Start, path: str, body: dict[str, Json]) -> str:
    model = default_model()
    can = model.capabilities
    can.tools = can.embedding = can.thinking = can.json_constraint = True
    embedded = pb.EmbedResponse(embeddings=[pb.Embedding(values=[1.0])])
    worker = StallingWorker(described=model, steps=[started(), content("a"), done()], embedded=embedded)
    async with start(worker) as frontend:
        answer = await frontend.client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.headers.get("x-drover-not-honoured", ""))


def _nested(**more: Json) -> Json:
    return {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, **more}}


def _flat(**more: Json) -> Json:
    return {"type": "function", "name": "f", "parameters": {"type": "object"}, **more}


@_PATHS
@pytest.mark.parametrize(
    ("tool", "names"),
    [
        (_nested(strict=True), "tools.function.strict"),
        (_nested(strict=False, frobnicate=1), "tools.function.frobnicate"),
        ({**_nested(), "items": {"a": 1}}, "tools.items"),  # type: ignore[dict-item]  # more than a nested tool has
        (_flat(strict=True, input_examples=[{"a": 1}]), "tools.strict, tools.input_examples"),
        ({"name": "f", "input_schema": {"type": "object"}, "strict": True}, "tools.strict"),
        (_flat(allowed_callers=["code_execution_20250825"]), "tools.allowed_callers"),
        (_nested(description="d"), ""),
        (_flat(strict=None, cache_control={"type": "ephemeral"}, eager_input_streaming=True), ""),
    ],
)
async def test_fields_of_a_tool_without_effect_are_named(
    start: Start, path: str, tool: Json, names: str
) -> None:
    assert await _names(start, path, {**_BODIES[path], "tools": [tool, tool]}) == names


@pytest.mark.parametrize("path", sorted(_BODIES.keys() - {"/api/chat"}))
@pytest.mark.parametrize("tool", [_nested(strict=True), _flat(strict=True)])
async def test_a_forced_call_keeps_its_schema(start: Start, path: str, tool: Json) -> None:
    more: dict[str, Json] = {"tools": [tool], "tool_choice": _FORCED}
    assert await _names(start, path, {**_BODIES[path], **more}) == ""


async def test_tools_in_a_namespace(start: Start) -> None:
    namespace: Json = {"type": "namespace", "name": "n", "tools": [_flat(strict=True)]}
    names = await _names(start, "/v1/responses", {**_BODIES["/v1/responses"], "tools": [namespace]})
    assert names == "tools.strict"


async def test_only_anthropics_tools_may_be_deferred(start: Start) -> None:
    tools: Json = [_flat(defer_loading=True)]
    assert await _names(start, "/v1/messages", {**_BODIES["/v1/messages"], "tools": tools}) == ""
    names = await _names(start, "/v1/responses", {**_BODIES["/v1/responses"], "tools": tools})
    assert names == "tools.defer_loading"


@pytest.mark.parametrize(
    ("path", "more", "names"),
    [
        ("/v1/messages", {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking.budget_tokens"),
        ("/v1/messages", {"thinking": {"type": "adaptive", "display": "omitted"}}, "thinking.display"),
        ("/v1/messages", {"output_config": {"effort": "low", "task_budget": 9}}, "output_config.task_budget"),
        (
            "/v1/messages",
            {"output_config": {"format": {"type": "json_schema", "schema": {}, "mode": "x"}}},
            "output_config.format.mode",
        ),
        ("/v1/chat/completions", {"reasoning": {"effort": "low", "max_tokens": 9}}, "reasoning.max_tokens"),
        (
            "/v1/chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "mode": "x"}}},
            "response_format.json_schema.mode",
        ),
        ("/v1/chat/completions", {"stream_options": {"include_all": True}}, "stream_options.include_all"),
        ("/v1/completions", {"stream_options": {"include_all": True}}, "stream_options.include_all"),
        ("/v1/responses", {"reasoning": {"effort": "low", "context": "all_turns"}}, "reasoning.context"),
        ("/v1/responses", {"text": {"format": {"type": "text", "mode": "x"}}}, "text.format.mode"),
    ],
)
async def test_fields_of_other_objects_without_effect_are_named(
    start: Start, path: str, more: dict[str, Json], names: str
) -> None:
    body = _BODIES.get(path, {"model": "m", "prompt": "x"})
    assert await _names(start, path, {**body, **more}) == names


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/messages", {"thinking": {"type": "enabled"}, "output_config": {"effort": "low"}}),
        (
            "/v1/chat/completions",
            {
                "stream_options": {"include_usage": True, "include_obfuscation": True},
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "description": "d", "strict": True, "schema": {}},
                },
                "reasoning": {"effort": "low", "summary": "auto"},
            },
        ),
        (
            "/v1/responses",
            {
                "reasoning": {"effort": "low", "summary": "auto"},
                "text": {"format": {"type": "json_schema", "name": "n", "strict": True, "schema": {}}},
            },
        ),
    ],
)
async def test_objects_whose_fields_are_all_honoured(start: Start, path: str, more: dict[str, Json]) -> None:
    assert await _names(start, path, {**_BODIES[path], **more}) == ""


@pytest.mark.parametrize("path", sorted(_OTHERS))
async def test_unknown_fields_of_other_routes_are_named(start: Start, path: str) -> None:
    more: dict[str, Json] = {"task": "retrieval.query", "Frobnicate": True, "nothing": None, "no": False}
    assert await _names(start, path, {**_OTHERS[path], **more}) == "task, Frobnicate"
    assert await _names(start, path, _OTHERS[path]) == ""


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/tokenize", "/v1/detokenize"])
async def test_fields_that_name_the_user_are_harmless(start: Start, path: str) -> None:
    assert await _names(start, path, {**_OTHERS[path], "user": "u", "metadata": {"a": "b"}}) == ""


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings", "/v1/embeddings"])
async def test_a_larger_context_than_the_models_is_named(start: Start, path: str) -> None:
    assert await _names(start, path, {**_OTHERS[path], "options": {"num_ctx": 100_000}}) == "num_ctx"
