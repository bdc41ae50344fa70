"""Rules that hold on every route.

| line | asserted by |
|---|---|
| request parsing | test_http_contract::test_reading_is_as_lenient_as_go (Content-Type, unknown fields, trailing bytes, keys' case, last duplicate, null); transcripts "trailing bytes", "case of keys", "text content type", "duplicate keys", "body null …" |
| empty body | transcripts "empty body …" on each route, "delete empty body" |
| malformed JSON | test_http_contract::test_malformed_bodies; transcripts "open brace …", "body list …" |
| streamed success, one object a line | test_http_contract::test_streams_are_lines_that_end_with_done |
| error after the first object | test_limits_and_failures::test_a_script_that_fails_ends_with_an_error_line |
| unknown path, wrong method, trailing slash | test_http_contract::test_routes, …wrong_method…, …trailing_slash… |
| body-less successes | transcripts "copy", "delete t1", "head blob", "post blob" |
| durations, counts: integers | transcripts (comparing.py masks only positive integers) |

Not here: request size (a limit of ours: test_limits_and_failures::test_bodies_have_a_limit), zstd and multipart
(they are of /v1).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import json
import re

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    JSON,
    NDJSON,
    PLAIN,
    UTC,
    ZONED,
    answered,
    ask,
    chat_message,
    inference,
    lines_of,
)

_ROUTES = [
    ("POST", "/api/chat", "ChatRequest", "model"),
    ("POST", "/api/generate", "GenerateRequest", "model"),
    ("POST", "/api/show", "ShowRequest", "model"),
    ("POST", "/api/embed", "EmbedRequest", "model"),
    ("POST", "/api/embeddings", "EmbeddingRequest", "model"),
    ("POST", "/api/pull", "PullRequest", "model"),
    ("POST", "/api/push", "PushRequest", "model"),
    ("POST", "/api/create", "CreateRequest", "model"),
    ("POST", "/api/copy", "CopyRequest", "source"),
    ("DELETE", "/api/delete", "DeleteRequest", "model"),
]


@pytest.mark.parametrize(
    ("method", "path", "struct", "key"), _ROUTES, ids=[f"bad request status {each[1]}" for each in _ROUTES]
)
def test_a_wrong_type_is_400_and_one_text(
    http: httpx.Client, method: str, path: str, struct: str, key: str
) -> None:
    answer = http.request(method, path, content=json.dumps({key: 1}))

    assert (answer.status_code, answer.headers["content-type"]) == (400, JSON)
    assert answer.json() == {
        "error": f"json: cannot unmarshal number into Go struct field {struct}.{key} of type string"
    }


@pytest.mark.parametrize("path", INFERENCE, ids=[f"non-streamed success {path}" for path in INFERENCE])
def test_a_whole_answer_is_compact_and_escapes_markup(http: httpx.Client, path: str) -> None:
    answer = ask(http, path, inference(path, "#markup", "thinker", options={}))

    assert (answer.status_code, answer.headers["content-type"]) == (200, JSON)
    assert r'"\u003cb\u003e\u0026amp;é\u2028"' in answer.text
    plain = json.dumps(answer.json(), separators=(",", ":"), ensure_ascii=False)
    escaped = plain.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    assert answer.text == escaped.replace("\u2028", r"\u2028")


@pytest.mark.parametrize("path", INFERENCE, ids=[f"streamed success {path}" for path in INFERENCE])
def test_a_stream_is_chunked_lines(http: httpx.Client, path: str) -> None:
    answer = ask(http, path, inference(path, "#pause", "thinker", stream=True, options={}))

    assert answer.headers["content-type"] == NDJSON
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    # The engine said nothing for most of a second, and so did the stream: no blank line, no comment.
    assert [line["done"] for line in lines_of(answer)] == [False, False, True]


@pytest.mark.parametrize("path", INFERENCE, ids=[f"streamed success, flushed {path}" for path in INFERENCE])
def test_each_object_is_sent_at_once(http: httpx.Client, path: str) -> None:
    """The rest comes ten minutes later; the client's own time limit is the deadline."""
    body = inference(path, "#endless", "thinker", stream=True, options={})
    with http.stream("POST", f"/api/{path}", content=json.dumps(body), timeout=10) as answer:
        first = json.loads(next(answer.iter_lines()))
    assert first["done"] is False


@pytest.mark.parametrize(
    ("stream", "content_type"),
    [
        pytest.param(True, "application/json", id="error before the first object, streamed"),
        pytest.param(False, JSON, id="error before the first object, whole"),
    ],
)
@pytest.mark.parametrize("path", INFERENCE)
def test_an_error_before_the_first_object_has_a_status(
    http: httpx.Client, path: str, stream: bool, content_type: str
) -> None:
    answer = ask(http, path, inference(path, "#early", "thinker", stream=stream, options={}))

    assert (answer.status_code, answer.text) == (500, '{"error":"the engine broke"}')
    assert answer.headers["content-type"] == content_type


@pytest.mark.parametrize("path", INFERENCE, ids=[f"created_at {path}" for path in INFERENCE])
def test_created_at_is_utc_without_zeros_at_its_end(http: httpx.Client, path: str) -> None:
    options = {"temperature": 0, "num_predict": 40}
    answer = ask(http, path, inference(path, "tell", "thinker", stream=True, think=False, options=options))

    times = [line["created_at"] for line in lines_of(answer)]
    assert len(times) > 10
    assert all(UTC.fullmatch(time) for time in times)
    assert times == sorted(times)


def test_modified_at_and_expires_at_have_a_zone(http: httpx.Client) -> None:
    answered(ask(http, "generate", {"model": "smol"}))
    models = http.get("/api/tags").json()["models"]
    loaded = http.get("/api/ps").json()["models"]
    shown = answered(ask(http, "show", {"model": "smol"}))

    times = [*(each["modified_at"] for each in [*models, shown]), *(each["expires_at"] for each in loaded)]
    assert len(times) > 3
    assert all(ZONED.fullmatch(time) for time in times)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("chat", inference("chat"), id="durations chat"),
        pytest.param("generate", inference("generate"), id="durations generate"),
        pytest.param("embed", {"model": "vectors", "input": "x"}, id="durations embed"),
    ],
)
def test_durations_and_counts_are_written_as_integers(
    http: httpx.Client, path: str, body: dict[str, object]
) -> None:
    text = ask(http, path, body).text
    numbers = dict(re.findall(r'"(\w+_(?:duration|count))":([^,}]*)', text))

    assert {"total_duration", "load_duration", "prompt_eval_count"} <= set(numbers)
    assert all(re.fullmatch(r"[1-9]\d*", number) for number in numbers.values())


def test_sizes_are_written_as_integers(http: httpx.Client) -> None:
    answered(ask(http, "generate", {"model": "smol"}))
    for path in ("/api/tags", "/api/ps"):
        sizes = re.findall(r'"(?:size|size_vram)":([^,}]*)', http.get(path).text)
        assert sizes
        assert all(re.fullmatch(r"\d+", size) for size in sizes)


@pytest.mark.parametrize(
    "path", ["/debug/pprof/", "/debug/pprof/heap", "/debug/vars"], ids="debug routes {}".format
)
def test_there_are_no_debug_routes(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (
        404,
        PLAIN,
        "404 page not found",
    )


@pytest.mark.parametrize("field", ["stream", "format", "options", "keep_alive", "think", "truncate", "shift"])
@pytest.mark.parametrize("path", INFERENCE)
def test_null_is_not_set(http: httpx.Client, path: str, field: str) -> None:
    body = {
        "model": "thinker",
        "messages": chat_message("#think"),
        "prompt": "#think",
        "stream": False,
        field: None,
    }
    answer = ask(http, path, body)

    if field == "stream":
        assert [line["done"] for line in lines_of(answer)][-2:] == [False, True]
    else:
        assert answered(answer)["done_reason"] == "stop"
