"""HTTP requests of any client, and Ollama's responses to them (ollama-contract.md).

The simulator serves: none of this depends on a model. Every answer is followed by a good one, and no log
holds a traceback.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx
import pytest

from tests.support.processes import Stack
from tests.support.waiting import until

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
HELLO = [{"role": "user", "content": "hello"}]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z")


@pytest.fixture
def http(simulated: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=simulated.url, timeout=30) as client:
        yield client
        good = client.post(
            "/api/generate", json={"model": "sim", "prompt": "x", "options": {"num_predict": 1}}
        )
        assert good.status_code == 200
    for process in (simulated.frontend, simulated.worker):
        assert "Traceback" not in process.log_text()


@pytest.mark.parametrize(
    ("method", "path", "status", "content_type", "body"),
    [
        ("GET", "/", 200, "text/plain; charset=utf-8", "Ollama is running"),
        ("HEAD", "/", 200, "text/plain; charset=utf-8", ""),
        ("GET", "/api/version", 200, JSON, '{"version":"0.40.12"}'),
        ("HEAD", "/api/version", 200, JSON, ""),
        ("HEAD", "/api/tags", 200, JSON, ""),
        ("GET", "/nope", 404, "text/plain", "404 page not found"),
        ("GET", "/docs", 404, "text/plain", "404 page not found"),
        ("GET", "/redoc", 404, "text/plain", "404 page not found"),
        ("GET", "/api/chat", 405, "text/plain", "405 method not allowed"),
        ("POST", "/api/tags", 405, "text/plain", "405 method not allowed"),
        ("HEAD", "/api/show", 405, "text/plain", ""),
        (
            "GET",
            "/api/tags/",
            301,
            "text/html; charset=utf-8",
            '<a href="/api/tags">Moved Permanently</a>.\n\n',
        ),
        ("POST", "/api/tags/", 404, "text/plain", "404 page not found"),
        ("GET", "/api/chat/", 404, "text/plain", "404 page not found"),
        ("FOO", "/api/tags", 405, "text/plain", "405 method not allowed"),
        ("FOO", "/nope", 404, "text/plain", "404 page not found"),
        ("GET", "/healthz", 200, "text/plain; charset=utf-8", "ok"),
        ("GET", "/readyz", 200, "text/plain; charset=utf-8", "ok"),
    ],
)
def test_routes(
    http: httpx.Client, method: str, path: str, status: int, content_type: str, body: str
) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (status, content_type, body)


def test_wrong_method_names_the_right_ones(http: httpx.Client) -> None:
    assert http.get("/api/chat").headers["allow"] == "POST"
    assert http.post("/api/tags").headers["allow"] == "HEAD, GET"
    assert http.put(f"/api/blobs/sha256:{'0' * 64}").headers["allow"] == "HEAD, POST"
    assert http.request("FOO", "/api/delete").headers["allow"] == "DELETE"


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("//api/chat", "/api/chat"),
        ("//v1/chat/completions?x=1&y=%2F", "/v1/chat/completions?x=1&y=%2F"),
        ("///", "/"),
        ("/api/./chat/", "/api/chat/"),
        ("/api/tags/../chat", "/api/chat"),
        ("//evil.example/%2e%2e/x", "/evil.example/%2e%2e/x"),
        ("/../..", "/"),
        ("//nope?a='<b>'&c", "/nope?a='<b>'&c"),
    ],
)
@pytest.mark.parametrize(
    ("method", "content_type"),
    [
        ("GET", "text/html; charset=utf-8"),
        ("HEAD", "text/html; charset=utf-8"),
        ("POST", None),
        ("FOO", None),
    ],
)
def test_a_path_with_empty_segments_is_redirected(
    simulated: Stack, method: str, content_type: str | None, path: str, location: str
) -> None:
    """Sent as it stands: httpx would clean it."""
    connection = HTTPConnection(simulated.url.removeprefix("http://"), timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    escaped = html.escape(location).replace("&#x27;", "&#39;")
    page = f'<a href="{escaped}">Temporary Redirect</a>.\n\n' if method == "GET" else ""

    assert (answer.status, answer.getheader("location")) == (307, location)
    assert (answer.getheader("content-type"), answer.read().decode()) == (content_type, page)
    connection.close()


def test_a_base_url_with_a_slash_at_its_end(http: httpx.Client) -> None:
    url = httpx.URL(http.base_url).copy_with(raw_path=b"//api/chat")
    answer = http.post(url, json={"model": "sim", "messages": HELLO, "stream": False}, follow_redirects=True)
    assert answer.json()["message"]["content"]


def test_trailing_slash_of_a_post_keeps_the_method(http: httpx.Client) -> None:
    answer = http.post("/api/chat/?x=1", json={})
    assert (answer.status_code, answer.headers["location"]) == (307, "/api/chat?x=1")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show", "/api/embed", "/api/embeddings"])
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "missing request body"),
        (b"  \n", "missing request body"),
        (b"{", "unexpected EOF"),
        (b'{"model":"sim"', "unexpected EOF"),
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"{'model':1}", r"invalid character '\'' looking for beginning of object key string"),
        (b'{"model":}', "invalid character '}' looking for beginning of value"),
        (b'{"model":"a" "b"}', "invalid character '\"' after object key:value pair"),
        (b"\x00\x01\x02\xff", r"invalid character '\x00' looking for beginning of value"),
        (b"\x89PNG\r\n\x1a\n", "invalid character '\x89' looking for beginning of value"),
        (b"[" * 100_000, "invalid character '[' exceeded max depth"),
        (
            b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            "invalid character '[' exceeded max depth",
        ),
        (b'{"a":' * 100_000, "invalid character '{' exceeded max depth"),
    ],
)
def test_malformed_bodies(http: httpx.Client, path: str, body: bytes, error: str) -> None:
    answer = http.post(path, content=body)
    assert (answer.status_code, answer.headers["content-type"]) == (400, JSON)
    assert answer.json() == {"error": error}


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/chat", [], 400, "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        ("/api/generate", [], 400, "json: cannot unmarshal array into Go value of type api.GenerateRequest"),
        ("/api/show", [], 400, "json: cannot unmarshal array into Go value of type api.ShowRequest"),
        ("/api/chat", None, 400, "model is required"),
        ("/api/chat", {}, 400, "model is required"),
        ("/api/generate", {}, 404, "model '' not found"),
        ("/api/show", {}, 400, "model is required"),
        ("/api/chat", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/generate", {"model": "nope", "prompt": "x"}, 404, "model 'nope' not found"),
        ("/api/show", {"model": "nope"}, 404, "model 'nope:latest' not found"),
        ("/api/chat", {"model": "a b"}, 400, "invalid model name"),
        ("/api/show", {"model": "../../etc/passwd"}, 400, "invalid model name"),
        (
            "/api/chat",
            {"model": "sim", "messages": "x"},
            400,
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type []api.Message",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": [1]},
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.messages of type api.Alias",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": [{"role": 5}]},
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.messages.role of type string",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": [{"tool_calls": [{"function": {"name": 5}}]}]},
            400,
            "json: cannot unmarshal number into Go struct field "
            "ChatRequest.messages.tool_calls.function.name of type string",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": [{"role": "user", "images": ["!"]}]},
            400,
            "illegal base64 data at input byte 0",
        ),
        (
            "/api/generate",
            {"model": "sim", "prompt": 5},
            400,
            "json: cannot unmarshal number into Go struct field GenerateRequest.prompt of type string",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "top_logprobs": 21},
            400,
            "top_logprobs must be between 0 and 20",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "keep_alive": "10"},
            400,
            'time: missing unit in duration "10"',
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "think": True},
            400,
            '"sim" does not support thinking',
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "tools": [{"type": "function", "function": {"name": "f"}}]},
            400,
            "registry.ollama.ai/library/sim:latest does not support tools",
        ),
        (
            "/api/generate",
            {"model": "sim", "prompt": "x", "suffix": "y"},
            400,
            "registry.ollama.ai/library/sim:latest does not support insert",
        ),
        (
            "/api/generate",
            {"model": "sim", "prompt": "x", "raw": True, "system": "s"},
            400,
            "raw mode does not support template, system, or context",
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "options": {"stop": "x"}},
            500,
            'option "stop" must be of type array',
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "options": {"temperature": "hot"}},
            500,
            'option "temperature" must be of type float32',
        ),
        (
            "/api/chat",
            {"model": "sim", "messages": HELLO, "format": "yaml"},
            500,
            r'invalid format: "\"yaml\""; expected "json" or a valid JSON Schema object',
        ),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
def test_refused_before_the_stream(
    http: httpx.Client, path: str, body: object, status: int, error: str, stream: bool
) -> None:
    if isinstance(body, dict) and path != "/api/show":
        body = {**body, "stream": stream}
    answer = http.post(path, content=json.dumps(body))
    assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert answer.headers["content-type"] == JSON


def test_reading_is_as_lenient_as_go(http: httpx.Client) -> None:
    """Any Content-Type, keys in any case, the last duplicate, nulls, unknown keys, bytes after the value."""
    body = (
        b'{"MODEL":"nope","model":"sim","Stream":false,"messages":[{"ROLE":"user","content":"hi","x":1}],'
        b'"options":null,"format":null,"unknown":[{}],"think":null} trailing'
    )
    answer = http.post("/api/chat", content=body, headers={"content-type": "text/plain"})
    assert answer.status_code == 200
    assert answer.json()["model"] == "sim"


def test_streams_are_lines_that_end_with_done(http: httpx.Client) -> None:
    answer = http.post(
        "/api/generate", json={"model": "sim", "prompt": "hello", "options": {"num_predict": 5}}
    )
    assert answer.headers["content-type"] == NDJSON
    assert answer.text.endswith("}\n")
    assert "\n\n" not in answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert all(RFC3339.fullmatch(line["created_at"]) for line in lines)
    assert all(line["model"] == "sim" and "error" not in line for line in lines)
    assert lines[-1]["done_reason"] == "length"
    assert list(lines[-1]) == [
        "model", "created_at", "response", "done", "done_reason", "context", "total_duration",
        "load_duration", "prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration",
        "eval_count", "eval_duration",
    ]  # fmt: skip


def test_unstreamed_responses_are_compact_json_without_newline(http: httpx.Client) -> None:
    answer = http.post("/api/chat", json={"model": "sim", "messages": HELLO, "stream": False})
    assert answer.headers["content-type"] == JSON
    assert answer.text == json.dumps(answer.json(), separators=(",", ":"), ensure_ascii=False)
    assert all(
        isinstance(answer.json()[key], int) for key in answer.json() if key.endswith(("duration", "count"))
    )


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    ("keep_alive", "reason"), [({}, "load"), ({"keep_alive": 0}, "unload"), ({"keep_alive": "0s"}, "unload")]
)
def test_load_and_unload_are_one_plain_object(
    http: httpx.Client, path: str, keep_alive: dict[str, object], reason: str
) -> None:
    answer = http.post(path, json={"model": "sim", "stream": True, **keep_alive})
    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert (answer.json()["done"], answer.json()["done_reason"]) == (True, reason)
    assert "total_duration" not in answer.json()


async def test_request_id_goes_in_and_out_and_through_both_logs(simulated: Stack) -> None:
    body = {"model": "sim", "messages": HELLO}
    async with httpx.AsyncClient(base_url=simulated.url) as http:
        answer = await http.post("/api/chat", json=body, headers={"X-Request-ID": "my-request-4711"})
    assert answer.headers["x-request-id"] == "my-request-4711"
    await until(lambda: _logged(simulated.frontend.log_text(), "my-request-4711"), 2, "the frontend logs it")
    await until(lambda: _logged(simulated.worker.log_text(), "my-request-4711"), 2, "the worker logs it")


def _logged(log: str, request_id: str) -> bool:
    return any(
        json.loads(line).get("request_id") == request_id for line in log.splitlines() if line.endswith("}")
    )


@pytest.mark.parametrize("bad_id", ["", "x" * 200, "two words"])
def test_a_request_id_that_cannot_be_logged_is_replaced(http: httpx.Client, bad_id: str) -> None:
    answer = http.get("/api/version", headers={"X-Request-ID": bad_id})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("last", "end"),
    [
        ({"role": "assistant", "content": "The capital of"}, "<|assistant|>\nThe capital of"),
        (
            {"role": "assistant", "content": "x", "tool_calls": [{"function": {"name": "f"}}]},
            "<|assistant|>\n",
        ),
    ],
)
def test_an_assistants_last_message_is_continued(
    http: httpx.Client, last: dict[str, object], end: str
) -> None:
    body = {"model": "sim", "messages": [*HELLO, last]}
    rendered = http.post("/api/chat", json={**body, "_debug_render_only": True}).json()
    assert rendered["_debug_info"]["rendered_template"].endswith(end)
    answer = http.post("/api/chat", json={**body, "stream": False, "options": {"num_predict": 2}})
    assert answer.json()["message"]["content"]


def test_show_has_what_clients_crash_without(http: httpx.Client) -> None:
    shown = http.post("/api/show", json={"model": "", "name": "sim"}).json()
    assert {"modelfile", "details", "model_info", "capabilities", "modified_at"} <= set(shown)
    assert shown["details"]["parent_model"] == ""
    assert "simulator" in json.dumps(shown)


async def test_an_idle_connection_stays_open(simulated: Stack) -> None:
    """Uvicorn's own limit is 5 s: a client that keeps connections for longer loses what it sends then."""
    address, port = simulated.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    writer.write(b"HEAD / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 6)
    writer.close()
