"""Every route outside /v1 is there, with its methods and no others.

| line | asserted by |
|---|---|
| GET and HEAD /, /api/version, HEAD /api/tags | test_http_contract::test_routes |
| GET /api/tags, /api/ps | transcripts "get /api/tags", "get /api/ps" |
| POST /api/show, generate, chat, create, copy, DELETE /api/delete, HEAD and POST /api/blobs | transcripts |
| what each answers | the tests of its subject |

Not here: /v1. Of the paths that are "not there" ours are free to use: /healthz and /readyz are taken.
"""

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import JSON, NDJSON, PLAIN

_DIGEST = f"sha256:{'0' * 64}"
_CLOUD = '{"error":"ollama cloud is disabled: '
# Method, path, body, status, Content-Type, how the answer begins.
_ANSWERS = [
    ("GET", "/api/status", "", 200, JSON, '{"cloud":{"disabled":true,"source":"'),
    ("GET", "/api/tags", "", 200, JSON, '{"models":[{"name":"'),
    ("GET", "/api/ps", "", 200, JSON, '{"models":['),
    ("POST", "/api/show", '{"model":"smol"}', 200, JSON, "{"),
    ("POST", "/api/generate", '{"model":"thinker","prompt":"#think"}', 200, NDJSON, '{"model":"thinker",'),
    (
        "POST",
        "/api/chat",
        '{"model":"thinker","messages":[{"role":"user","content":"#think"}]}',
        200,
        NDJSON,
        '{"model":"thinker",',
    ),
    ("POST", "/api/embed", '{"model":"vectors","input":"x"}', 200, JSON, '{"model":"vectors","embeddings":['),
    ("POST", "/api/embeddings", '{"model":"vectors","prompt":"x"}', 200, JSON, '{"embedding":['),
    ("POST", "/api/pull", '{"model":"smol"}', 200, NDJSON, '{"status":"pulling manifest"}\n'),
    ("POST", "/api/push", '{"model":"smol"}', 200, NDJSON, '{"status":"retrieving manifest"}\n'),
    ("POST", "/api/create", '{"model":"one","from":"smol"}', 200, NDJSON, '{"status":"using existing layer '),
    ("POST", "/api/copy", '{"source":"one","destination":"two"}', 200, None, ""),
    ("DELETE", "/api/delete", '{"model":"one"}', 200, None, ""),
    ("DELETE", "/api/delete", '{"name":"two"}', 200, None, ""),
    ("HEAD", f"/api/blobs/{_DIGEST}", "", 404, JSON, ""),
    ("POST", f"/api/blobs/{_DIGEST}", "x", 400, JSON, '{"error":"digest mismatch, expected '),
    ("POST", "/api/me", "", 401, JSON, '{"error":"unauthorized"'),
    ("POST", "/api/signout", "", 401, JSON, '{"error":"you are not currently signed in"}'),
    ("DELETE", "/api/user/keys/abc", "", 401, JSON, '{"error":"you are not currently signed in"}'),
    ("POST", "/api/experimental/web_search", '{"query":"x"}', 403, JSON, _CLOUD),
    ("POST", "/api/experimental/web_fetch", '{"url":"x"}', 403, JSON, _CLOUD),
    ("GET", "/api/experimental/model-recommendations", "", 200, JSON, '{"recommendations":[]}'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "content_type", "begin"),
    _ANSWERS,
    ids=[f"{method} {path.replace(_DIGEST, ':digest')}" for method, path, *_ in _ANSWERS],
)
def test_a_route_answers(
    http: httpx.Client, method: str, path: str, body: str, status: int, content_type: str | None, begin: str
) -> None:
    answer = http.request(method, path, content=body)

    assert (answer.status_code, answer.headers.get("content-type")) == (status, content_type)
    assert answer.text == begin if not begin else answer.text.startswith(begin)


_METHODS = {
    "/": {"GET", "HEAD"},
    "/api/version": {"GET", "HEAD"},
    "/api/status": {"GET"},
    "/api/tags": {"GET", "HEAD"},
    "/api/ps": {"GET"},
    "/api/show": {"POST"},
    "/api/generate": {"POST"},
    "/api/chat": {"POST"},
    "/api/embed": {"POST"},
    "/api/embeddings": {"POST"},
    "/api/pull": {"POST"},
    "/api/push": {"POST"},
    "/api/create": {"POST"},
    "/api/copy": {"POST"},
    "/api/delete": {"DELETE"},
    f"/api/blobs/{_DIGEST}": {"HEAD", "POST"},
    "/api/me": {"POST"},
    "/api/signout": {"POST"},
    "/api/user/keys/abc": {"DELETE"},
    "/api/experimental/web_search": {"POST"},
    "/api/experimental/web_fetch": {"POST"},
    "/api/experimental/model-recommendations": {"GET"},
    # Not upstream's.
    "/api/tokenize": {"POST"},
    "/api/detokenize": {"POST"},
}


@pytest.mark.parametrize(
    ("path", "methods"), _METHODS.items(), ids=[f"methods of {path[:30]}" for path in _METHODS]
)
def test_other_methods_are_405_and_name_the_right_ones(
    http: httpx.Client, path: str, methods: set[str]
) -> None:
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} - methods:
        answer = http.request(method, path)
        assert (answer.status_code, answer.headers["content-type"]) == (405, PLAIN), method
        assert answer.text == ("" if method == "HEAD" else "405 method not allowed")
        assert set(answer.headers["allow"].split(", ")) <= methods


@pytest.mark.parametrize(
    "path",
    ["/health", "/api", "/api/", "/api/chats", "/API/chat"],
    ids="not there {}".format,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_are_not_there(http: httpx.Client, method: str, path: str) -> None:
    answer = http.request(method, path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (
        404,
        PLAIN,
        "404 page not found",
    )
