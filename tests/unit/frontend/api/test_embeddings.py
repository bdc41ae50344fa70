"""/api/embed and /api/embeddings: the recorded answers, and what reaches the worker."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re

import httpx
import pytest

from drover.errors import (
    CapabilityMissing,
    ContextExceeded,
    DroverError,
    EngineFailed,
    InvalidRequest,
    NoWorkerReady,
    QueueFull,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.api.core.embedding import vector
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import StallingWorker
from tests.fakes.transcripts import Exchange, exchanges, scripted_exchanges
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start

_JSON = "application/json; charset=utf-8"
_CANCEL_SECONDS = 1.0
_PATHS = ("/api/embed", "/api/embeddings")
_EMBED = {"model": "m", "input": "a"}
_EMBEDDINGS = {"model": "m", "prompt": "a"}
_BODIES = dict(zip(_PATHS, (_EMBED, _EMBEDDINGS), strict=True))
_DURATION = re.compile(r'"(total_duration|load_duration)":[1-9]\d*')


def _worker(*names: str, embedding: bool = True, completion: bool = False) -> StallingWorker:
    can = pb.Capabilities(embedding=embedding, completion=completion)
    model = pb.Model(names=names or ["m:latest"], context_length=512, capabilities=can)
    return StallingWorker(described=model, embedded=_embedded([3, 4, 1]))


def _embedded(*vectors: list[float], prompt_tokens: int = 5) -> pb.EmbedResponse:
    return pb.EmbedResponse(
        embeddings=[pb.Embedding(values=vector) for vector in vectors],
        prompt_tokens=prompt_tokens,
        timings=pb.Timings(queue_ns=10, prefill_ns=20),
    )


def _recorded(among: list[Exchange]) -> list[Exchange]:
    return [exchange for exchange in among if exchange.path in _PATHS]


def _log_lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [each.__dict__["fields"] for each in caplog.records if each.name == "drover.request"]


async def _post(frontend: Frontend, exchange: Exchange) -> httpx.Response:
    return await frontend.client.post(exchange.path, content=exchange.body)


def _assert_as_recorded(answer: httpx.Response, exchange: Exchange) -> None:
    assert (answer.status_code, answer.headers["content-type"]) == (exchange.status, exchange.content_type)
    assert _DURATION.sub(r'"\1":N', answer.text) == _DURATION.sub(r'"\1":N', exchange.answer)


@pytest.mark.parametrize("exchange", _recorded(exchanges()), ids=str)
async def test_a_recorded_answer_of_a_model_that_generates(start: Start, exchange: Exchange) -> None:
    async with start(_worker("smol:latest", embedding=False, completion=True)) as frontend:
        answer = await _post(frontend, exchange)

        _assert_as_recorded(answer, exchange)
        assert frontend.worker.embeddings == []


# What an engine makes of the recorded texts: (3, 4, 1) of "a" and (3, 4, 4) of "bbbb".
_A, _B = [0.5883484, 0.78446454, 0.19611613], [0.4685213, 0.62469506, 0.62469506]
_ENGINE_GIVES = {
    "embed one": _embedded(_A),
    "embed many": _embedded(_A, _B, prompt_tokens=10),
    "embed dimensions": _embedded([0.59999996, 0.79999995]),
    "embed truncate false": _embedded(_A),
    "embeddings": _embedded([3, 4, 1]),
}


@pytest.mark.parametrize("exchange", _recorded(scripted_exchanges()), ids=str)
async def test_a_recorded_answer_of_a_model_that_embeds(start: Start, exchange: Exchange) -> None:
    worker = _worker("thinker:latest")
    worker.embedded = _ENGINE_GIVES.get(exchange.case)
    async with start(worker) as frontend:
        answer = await _post(frontend, exchange)

        _assert_as_recorded(answer, exchange)
        assert len(worker.embeddings) == (exchange.case in _ENGINE_GIVES)


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        ({"input": "a"}, ["a"]),
        ({"input": ["a", "", "b"]}, ["a", "", "b"]),
        ({"input": [""]}, [""]),
        ({"INPUT": "a", "unknown": 1}, ["a"]),
    ],
)
async def test_texts_reach_the_worker(start: Start, body: dict[str, object], texts: list[str]) -> None:
    worker = _worker()
    worker.embedded = _embedded(*([1.0] for _ in texts))
    async with start(worker) as frontend:
        assert (await frontend.client.post("/api/embed", json={"model": "M", **body})).status_code == 200

    (request,) = worker.embeddings
    assert list(request.texts) == texts
    assert (request.model, request.truncate, request.dimensions) == ("m:latest", True, 0)
    assert not any(request.HasField(name) for name in ("num_ctx", "normalize", "keep_alive_ns"))
    assert re.fullmatch("[0-9a-f]{32}", request.request_id)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"truncate": False}, pb.EmbedRequest(truncate=False)),
        ({"dimensions": 8}, pb.EmbedRequest(truncate=True, dimensions=8)),
        ({"dimensions": -8}, pb.EmbedRequest(truncate=True)),
        ({"dimensions": 2**63}, pb.EmbedRequest(truncate=True, dimensions=2**32 - 1)),
        ({"keep_alive": "1m"}, pb.EmbedRequest(truncate=True, keep_alive_ns=60_000_000_000)),
        ({"options": {"num_ctx": 3}}, pb.EmbedRequest(truncate=True, num_ctx=3)),
        ({"options": {"num_ctx": 0}}, pb.EmbedRequest(truncate=True, num_ctx=0)),
        ({"options": {"num_ctx": -7}}, pb.EmbedRequest(truncate=True, num_ctx=0)),
        ({"truncate": None, "options": None, "dimensions": None}, pb.EmbedRequest(truncate=True)),
    ],
)
async def test_fields_reach_the_worker(
    start: Start, body: dict[str, object], expected: pb.EmbedRequest
) -> None:
    worker = _worker()
    async with start(worker) as frontend:
        assert (await frontend.client.post("/api/embed", json={**_EMBED, **body})).status_code == 200

    (request,) = worker.embeddings
    expected.MergeFrom(pb.EmbedRequest(model="m:latest", texts=["a"], request_id=request.request_id))
    assert request == expected


@pytest.mark.parametrize(
    ("family", "model_info", "normalize"),
    [
        ("llama", "{}", True),
        ("qwen3", "", True),
        ("bert", "{}", False),
        ("bert", "", False),
        ("bert", '{"bert.normalize_embeddings": true}', True),
        ("nomic-bert", "{}", True),
    ],
)
async def test_the_older_route_asks_for_ollamas_normalisation(
    start: Start, family: str, model_info: str, normalize: bool
) -> None:
    worker = _worker()
    worker.described.family, worker.described.model_info_json = family, model_info
    async with start(worker) as frontend:
        body = {**_EMBEDDINGS, "keep_alive": 0, "options": {"num_ctx": 9}}
        answer = await frontend.client.post("/api/embeddings", json=body)

    assert answer.text == '{"embedding":[3,4,1]}'
    (request,) = worker.embeddings
    assert (list(request.texts), request.truncate, request.normalize) == (["a"], False, normalize)
    assert request.HasField("keep_alive_ns")
    assert (request.keep_alive_ns, request.num_ctx) == (0, 9)


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": ""}, {"input": []}])
async def test_a_request_without_texts_loads_the_model(start: Start, body: dict[str, object]) -> None:
    worker = _worker()
    async with start(worker) as frontend:
        answer = await frontend.client.post("/api/embed", json={"model": "M", "keep_alive": "1s", **body})
        older = await frontend.client.post("/api/embeddings", json={"model": "M"})

    assert (answer.text, older.text) == ('{"model":"M","embeddings":[]}', '{"embedding":[]}')
    assert worker.loads == [pb.LoadRequest(keep_alive_ns=1_000_000_000), pb.LoadRequest()]
    assert worker.embeddings == []


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/api/embed", {"input": {}}, 400, "invalid input type"),
        ("/api/embed", {"input": [None]}, 400, "invalid input type"),
        ("/api/embed", {"input": True}, 400, "invalid input type"),
        (
            "/api/embed",
            {"input": ["a"] * 10_001},
            400,
            "input: 10001 are too many, at most 10000 are possible",
        ),
        (
            "/api/embed",
            {"truncate": 1},
            400,
            "json: cannot unmarshal number into Go struct field EmbedRequest.truncate of type bool",
        ),
        (
            "/api/embeddings",
            {"prompt": ["a"]},
            400,
            "json: cannot unmarshal array into Go struct field EmbeddingRequest.prompt of type string",
        ),
        ("/api/embed", {"keep_alive": "10"}, 400, 'time: missing unit in duration "10"'),
        ("/api/embed", {"model": "a b"}, 400, "invalid model name"),
        ("/api/embeddings", {"model": "a b"}, 400, "invalid model name"),
        ("/api/embed", {"model": "n:q4"}, 404, 'model "n:q4" not found, try pulling it first'),
        ("/api/embed", {"options": {"num_ctx": "x"}}, 500, 'option "num_ctx" must be of type integer'),
        ("/api/embeddings", {"options": {"stop": 1}}, 500, 'option "stop" must be of type array'),
    ],
)
async def test_invalid_requests_are_refused(
    start: Start, path: str, body: dict[str, object], status: int, error: str
) -> None:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(path, json={**_BODIES[path], **body})

    assert (answer.status_code, answer.json()) == (status, {"error": error})
    assert answer.headers["content-type"] == _JSON


@pytest.mark.parametrize(
    ("error", "status", "older_status"),
    [
        (ContextExceeded("the input length exceeds the context length"), 400, 500),
        (CapabilityMissing("cannot make embeddings"), 501, 500),
        (EngineFailed("embedding contains NaN or Inf values"), 400, 500),
        (InvalidRequest("no"), 400, 400),
        (QueueFull(), 503, 503),
        (NoWorkerReady("loading"), 503, 503),
        (WorkerUnreachable("gone"), 503, 503),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, DroverError) else str(value),
)
async def test_a_worker_failure_has_the_routes_status(
    start: Start, error: DroverError, status: int, older_status: int
) -> None:
    worker = _worker()
    worker.embedded = error
    async with start(worker) as frontend:
        answers = [await frontend.client.post(path, json=_BODIES[path]) for path in _PATHS]

    assert [answer.status_code for answer in answers] == [status, older_status]
    assert {answer.text for answer in answers} == {
        json.dumps({"error": error.message}, separators=(",", ":"))
    }
    assert all(("retry-after" in answer.headers) == (status == 503) for answer in answers)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
async def test_vectors_that_are_not_finite_are_refused(start: Start, value: float) -> None:
    worker = _worker()
    worker.embedded = _embedded([0.5, value])
    async with start(worker) as frontend:
        answers = [await frontend.client.post(path, json=_BODIES[path]) for path in _PATHS]

    assert [answer.status_code for answer in answers] == [400, 500]
    assert answers[0].json() == {"error": "embedding contains NaN or Inf values"}


async def test_a_large_response_is_complete(start: Start) -> None:
    worker = _worker()
    worker.embedded = _embedded(*([0.25] * 1000 for _ in range(50)))
    async with start(worker) as frontend:
        answer = await frontend.client.post("/api/embed", json={**_EMBED, "input": ["a"] * 50})

    assert answer.json()["embeddings"] == [[0.25] * 1000] * 50


async def test_a_client_that_disconnects_ends_the_encoding_of_a_large_response(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written = 0

    def counted(embedding: pb.Embedding) -> bytes:
        nonlocal written
        written += 1
        return vector(embedding)

    monkeypatch.setattr("frontend.api.ollama.embed.vector", counted)
    worker = _worker()
    worker.embedded = _embedded(*([0.25] * 3000 for _ in range(500)))
    with caplog.at_level(logging.INFO, "drover.request"):
        async with start(worker) as frontend:
            client = await RawClient.post(frontend.port, "/api/embed", {**_EMBED, "input": ["a"] * 500})
            await until(lambda: written > 0, DEADLINE_SECONDS, "the answer is being written")
            client.leave()
            await until(lambda: bool(_log_lines(caplog)), DEADLINE_SECONDS, "the request ends")

    assert written < 500
    assert _log_lines(caplog)[0]["client_left"]


@pytest.mark.parametrize(("dimensions", "status"), [(0, 400), (3000, 400), (2000, 200)])
async def test_too_many_numbers_are_refused(start: Start, dimensions: int, status: int) -> None:
    worker = _worker()
    worker.described.embedding_length = 4096
    worker.embedded = _embedded(*([1.0] for _ in range(2000)))
    async with start(worker) as frontend:
        body = {**_EMBED, "input": ["a"] * 2000, "dimensions": dimensions}
        answer = await frontend.client.post("/api/embed", json=body)

    assert answer.status_code == status
    assert ("send them in several requests" in answer.text) == (status == 400)


@pytest.mark.parametrize("path", _PATHS)
async def test_a_client_that_disconnects_cancels_the_request(start: Start, path: str) -> None:
    worker = _worker()
    worker.embedded = None
    async with start(worker) as frontend:
        client = await RawClient.post(frontend.port, path, _BODIES[path])
        await until(lambda: bool(worker.embeddings), DEADLINE_SECONDS, "the worker gets the request")

        client.leave()

        await asyncio.wait_for(worker.embedding_cancelled.wait(), _CANCEL_SECONDS)


@pytest.mark.parametrize("path", _PATHS)
async def test_a_deadline_cancels_the_request(start: Start, path: str) -> None:
    worker = _worker()
    worker.embedded = None
    async with start(worker, request_timeout_seconds=0.2) as frontend:
        answer = await frontend.client.post(path, json=_BODIES[path])

    assert (answer.status_code, answer.json()) == (
        504,
        {"error": "the request took longer than 0.2 seconds"},
    )
    assert worker.embedding_cancelled.is_set()


async def test_the_log_line(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with start(_worker()) as frontend:
        with caplog.at_level(logging.INFO, "drover.request"):
            await frontend.client.post("/api/embed", json=_EMBED)

    (fields,) = _log_lines(caplog)
    assert (fields["model"], fields["worker"]) == ("m", "fake:1")
    assert (fields["embeddings"], fields["prompt_tokens"], fields["status"]) == (1, 5, 200)


async def test_durations_are_measured_and_zeros_omitted(start: Start) -> None:
    worker = _worker()
    worker.embedded = pb.EmbedResponse(embeddings=[pb.Embedding(values=[1])])
    async with start(worker) as frontend:
        answer = (await frontend.client.post("/api/embed", json=_EMBED)).json()

    assert list(answer) == ["model", "embeddings", "total_duration", "load_duration"]
    assert answer["total_duration"] > answer["load_duration"] == 1
