"""Fields without effect: harmless, named in a header, or refused.

None is ignored without a word where it changes what a request means.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.json_value import Json
from frontend.api.anthropic import request as anthropic
from frontend.api.openai import fields as openai
from tests.fakes.stalling_worker import StallingWorker, content, done, started
from tests.unit.frontend.api.conftest import Frontend, Start

_DOCS = Path(__file__).parents[4] / "docs" / "api.md"
_TURNS: Json = [{"role": "user", "content": "x"}]
_BODIES: dict[str, dict[str, Json]] = {
    "/api/chat": {"model": "m", "messages": _TURNS},
    "/api/generate": {"model": "m", "prompt": "x"},
    "/v1/chat/completions": {"model": "m", "messages": _TURNS},
    "/v1/completions": {"model": "m", "prompt": "x"},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/messages": {"model": "m", "max_tokens": 5, "messages": _TURNS},
}
_PATHS = pytest.mark.parametrize("path", sorted(_BODIES))
_HARMLESS = {
    "/v1/chat/completions": openai.HARMLESS,
    "/v1/completions": openai.HARMLESS,
    "/v1/responses": openai.HARMLESS,
    "/v1/messages": anthropic.HARMLESS,
}


def _worker() -> StallingWorker:
    return StallingWorker(steps=[started(), content("a"), done()])


async def _names(start: Start, path: str, more: dict[str, Json]) -> str:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], **more})
    assert answer.status_code == 200, answer.text
    return str(answer.headers.get("x-drover-not-honoured", ""))


@_PATHS
async def test_unknown_fields_are_named(start: Start, path: str) -> None:
    names = await _names(
        start, path, {"stop_regex": "[a-z]+", "Frobnicate": True, "nothing": None, "no": False}
    )
    assert names == "stop_regex, Frobnicate"


@_PATHS
async def test_no_header_where_all_is_honoured(start: Start, path: str) -> None:
    assert await _names(start, path, {"stream": False}) == ""


@pytest.mark.parametrize("path", sorted(_HARMLESS))
async def test_harmless_fields_are_not_named(start: Start, path: str) -> None:
    objects = {"metadata", "client_metadata"}
    fields: dict[str, Json] = {name: {"a": "b"} if name in objects else "x" for name in _HARMLESS[path]}
    assert await _names(start, path, fields) == ""


@pytest.mark.parametrize(
    ("path", "more", "words"),
    [
        ("/v1/messages", {"compaction": {"type": "enabled"}}, "compaction: "),
        ("/v1/messages", {"container": "c_1"}, "container: "),
        ("/v1/messages", {"mcp_servers": [{"url": "https://example.com"}]}, "mcp_servers: "),
        ("/v1/chat/completions", {"audio": {"voice": "x"}}, "audio: "),
        ("/v1/chat/completions", {"modalities": ["text", "audio"]}, "modalities: "),
        ("/v1/chat/completions", {"functions": [{"name": "f"}]}, "functions is the older form of tools"),
        ("/v1/chat/completions", {"function_call": {"name": "f"}}, "function_call is the older form"),
        ("/v1/responses", {"prompt": {"id": "p"}}, "prompt: no prompts are stored here"),
        ("/v1/responses", {"previous_response_id": "resp_1"}, "Previous response with id 'resp_1' not found"),
        ("/v1/responses", {"background": True}, "background: nothing is stored here"),
        ("/v1/responses", {"conversation": "conv_1"}, "conversation: conversations are not stored here"),
    ],
)
async def test_fields_that_change_the_meaning_are_refused(
    frontend: Frontend, path: str, more: dict[str, Json], words: str
) -> None:
    answer = await frontend.client.post(path, json={**_BODIES[path], **more})

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["message"].startswith(words)


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/chat/completions", {"modalities": ["text"]}),
        ("/v1/chat/completions", {"function_call": "auto"}),
        ("/v1/messages", {"mcp_servers": [], "container": None, "thread": None}),
        ("/v1/responses", {"include": ["reasoning.encrypted_content"], "store": False, "background": False}),
    ],
)
async def test_values_that_change_nothing_are_accepted(
    start: Start, path: str, more: dict[str, Json]
) -> None:
    assert await _names(start, path, more) == ""


async def test_fields_of_stored_responses_are_named(start: Start) -> None:
    more: dict[str, Json] = {"include": ["file_search_call.results"], "store": True}
    assert await _names(start, "/v1/responses", more) == "include, store"


@pytest.mark.parametrize(
    ("path", "more", "names"),
    [
        ("/v1/chat/completions", {"response_format": {"type": "grammar", "grammar": "x"}}, "response_format"),
        ("/v1/chat/completions", {"response_format": {"type": "text"}}, ""),
        ("/v1/responses", {"text": {"format": {"type": "grammar"}}}, "text.format"),
        ("/v1/responses", {"text": {"verbosity": "low"}}, "text.verbosity"),
    ],
)
async def test_unknown_formats_are_named(start: Start, path: str, more: dict[str, Json], names: str) -> None:
    assert await _names(start, path, more) == names


async def test_a_schema_that_is_missing_is_refused(frontend: Frontend) -> None:
    body = {**_BODIES["/v1/chat/completions"], "response_format": {"type": "json_schema"}}
    answer = await frontend.client.post("/v1/chat/completions", json=body)
    assert (answer.status_code, "schema" in answer.text) == (400, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("thread", "details"),
    [
        ({"type": "create"}, {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}),
        ({"type": "continue", "previous_message_id": "msg_1"}, {"error_code": "thread_not_found"}),
        ({"type": "new"}, {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}),
    ],
)
async def test_threads_are_refused_with_the_code_that_anthropics_sdks_handle(
    frontend: Frontend, thread: Json, details: Json, stream: bool
) -> None:
    body = {**_BODIES["/v1/messages"], "thread": thread, "stream": stream}
    answer = await frontend.client.post("/v1/messages", json=body)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["details"]) == ("invalid_request_error", details)
    assert not frontend.worker.handles


async def test_other_errors_have_no_details(frontend: Frontend) -> None:
    answer = await frontend.client.post("/v1/messages", json={"model": "m", "max_tokens": 0})
    assert "details" not in answer.json()["error"]


def test_the_table_in_the_docs_has_every_field() -> None:
    table = _DOCS.read_text().partition("## Fields without effect")[2]
    named = {
        "Anthropic": [*anthropic.HARMLESS, *anthropic.REFUSED],
        "OpenAI": [*openai.HARMLESS, *openai.REFUSED_IN_CHAT],
    }
    missing = [field for fields in named.values() for field in fields if f"`{field}`" not in table]
    assert missing == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *(
            (path, {**body, "model": "missing"})
            for path, body in sorted(_BODIES.items())
            if path[:3] == "/v1"
        ),
        ("/v1/embeddings", {"model": "missing", "input": "x"}),
        ("/v1/tokenize", {"model": "missing", "prompt": "x"}),
        ("/v1/rerank", {"model": "missing", "query": "x", "documents": ["y"]}),
    ],
)
async def test_a_missing_model_has_a_code(frontend: Frontend, path: str, body: dict[str, Json]) -> None:
    answer = await frontend.client.post(path, json=body)

    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["type"] == "not_found_error"
    if path == "/v1/messages":
        assert "code" not in error
    else:
        assert error["code"] == "model_not_found"


async def test_a_missing_model_of_the_list_has_a_code(frontend: Frontend) -> None:
    answer = await frontend.client.get("/v1/models/missing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
