"""/rerank, /v1/rerank and /v2/rerank: the shapes of bodies and responses, and what reaches the worker."""

from __future__ import annotations

import logging

import pytest

from drover.errors import DroverError, EngineFailed, QueueFull, WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start

PATHS = ("/rerank", "/v1/rerank", "/v2/rerank")
BODY: dict[str, object] = {"model": "m", "query": "q", "documents": ["a", "b", "c"]}


def reranker(*scores: float, names: tuple[str, ...] = ("m:latest",)) -> StallingWorker:
    can = pb.Capabilities(rerank=True)
    model = pb.Model(names=names, digest="d", context_length=512, capabilities=can)
    response = pb.RerankResponse(scores=scores or (0.25, 0.75, 0.5), prompt_tokens=9)
    return StallingWorker(described=model, reranked=response)


async def _ranked(start: Start, path: str, **fields: object) -> dict[str, object]:
    async with start(reranker()) as frontend:
        answer = await frontend.client.post(path, json={**BODY, **fields})
    assert answer.status_code == 200, answer.text
    ranking = answer.json()
    assert isinstance(ranking, dict)
    return ranking


async def test_one_response_has_what_each_client_reads(start: Start) -> None:
    ranking = await _ranked(start, "/v1/rerank")

    assert str(ranking.pop("id")).startswith("rerank-")
    assert ranking == {
        "object": "list",
        "model": "m",
        "results": [
            {"index": 1, "relevance_score": 0.75, "document": {"text": "b"}},
            {"index": 2, "relevance_score": 0.5, "document": {"text": "c"}},
            {"index": 0, "relevance_score": 0.25, "document": {"text": "a"}},
        ],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
        "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 9}},
    }


@pytest.mark.parametrize(
    ("path", "fields", "with_documents"),
    [
        ("/rerank", {}, True),
        ("/v1/rerank", {}, True),
        ("/v2/rerank", {}, False),
        ("/v1/rerank", {"return_documents": False}, False),
        ("/v2/rerank", {"return_documents": True}, True),
        ("/v1/rerank", {"return_documents": None}, True),
    ],
)
async def test_documents_are_returned(
    start: Start, path: str, fields: dict[str, object], with_documents: bool
) -> None:
    results = (await _ranked(start, path, **fields))["results"]
    assert isinstance(results, list)
    assert [("document" in each) for each in results] == [with_documents] * 3


@pytest.mark.parametrize(("top_n", "left"), [(1, 1), (2, 2), (3, 3), (100, 3), (0, 3), (None, 3)])
async def test_top_n_of_the_best(start: Start, top_n: int | None, left: int) -> None:
    results = (await _ranked(start, "/v1/rerank", top_n=top_n))["results"]
    assert isinstance(results, list)
    assert [each["index"] for each in results] == [1, 2, 0][:left]


async def test_equal_scores_keep_the_order_of_the_request(start: Start) -> None:
    async with start(reranker(0.5, 0.5, 0.5)) as frontend:
        answer = await frontend.client.post("/v1/rerank", json=BODY)
    assert [each["index"] for each in answer.json()["results"]] == [0, 1, 2]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("fields", "texts"), [({}, False), ({"return_text": True}, True)])
async def test_texts_get_the_list_of_tei(
    start: Start, path: str, fields: dict[str, object], texts: bool
) -> None:
    async with start(reranker()) as frontend:
        body = {"query": "q", "texts": ["a", "b", "c"], **fields}
        answer = await frontend.client.post(path, json=body)

    bare = [{"index": 1, "score": 0.75}, {"index": 2, "score": 0.5}, {"index": 0, "score": 0.25}]
    assert answer.json() == [
        {**each, **({"text": text} if texts else {})} for each, text in zip(bare, "bca", strict=True)
    ]


@pytest.mark.parametrize(
    ("fields", "query", "documents"),
    [
        ({"documents": "a"}, "q", ["a"]),
        ({"documents": [{"text": "a"}]}, "q", ["a"]),
        ({"query": {"text": "q?"}}, "q?", ["a", "b", "c"]),
        ({"query": [{"type": "text", "text": "q"}, {"type": "text", "text": "r"}]}, "q r", ["a", "b", "c"]),
        ({"documents": [{"content": [{"type": "text", "text": "a"}]}, [{"type": "text", "text": "b"}]]}, "q",
         ["a", "b"]),
        ({"documents": [{"title": "T", "text": "a"}], "rank_fields": ["title"]}, "q", ["T"]),
        ({"documents": [{"title": "T", "n": 1}], "rank_fields": ["title", "n"]}, "q", ["title: T\nn: 1"]),
        ({"documents": ["a", {"title": "T"}], "rank_fields": ["title"]}, "q", ["a", "T"]),
        ({"DOCUMENTS": ["x", "y"]}, "q", ["x", "y"]),
    ],
)  # fmt: skip
async def test_texts_reach_the_worker(
    start: Start, fields: dict[str, object], query: str, documents: list[str]
) -> None:
    async with start(reranker(*[0.5] * len(documents))) as frontend:
        answer = await frontend.client.post("/v1/rerank", json={**BODY, **fields})
        assert answer.status_code == 200, answer.text

        (request,) = frontend.worker.reranks
    assert ([*request.queries], [*request.documents]) == ([query], documents)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, pb.RerankRequest(truncate=True)),
        ({"truncate": False}, pb.RerankRequest(truncate=False)),
        ({"truncate_prompt_tokens": 64}, pb.RerankRequest(truncate=True, pair_tokens=64)),
        ({"truncate_prompt_tokens": -1}, pb.RerankRequest(truncate=True)),
        ({"max_tokens_per_doc": 7, "max_tokens_per_query": 5},
         pb.RerankRequest(truncate=True, document_tokens=7, query_tokens=5)),
        ({"raw_scores": True}, pb.RerankRequest(truncate=True, raw=True)),
        ({"use_activation": False}, pb.RerankRequest(truncate=True, raw=True)),
        ({"activation": False}, pb.RerankRequest(truncate=True, raw=True)),
        ({"instruction": "judge"}, pb.RerankRequest(truncate=True, instruction="judge")),
        ({"instruct": "judge"}, pb.RerankRequest(truncate=True, instruction="judge")),
        ({"keep_alive": "5m"}, pb.RerankRequest(truncate=True, keep_alive_ns=300_000_000_000)),
    ],
)  # fmt: skip
async def test_options_reach_the_worker(
    start: Start, fields: dict[str, object], expected: pb.RerankRequest
) -> None:
    async with start(reranker()) as frontend:
        await frontend.client.post("/v1/rerank", json={**BODY, **fields})
        (request,) = frontend.worker.reranks

    for name in ("request_id", "model", "queries", "documents"):
        request.ClearField(name)
    assert request == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query": ""}, "Query cannot be empty"),
        ({"query": None}, "Query cannot be empty"),
        ({"query": " \n"}, "Query cannot be empty or whitespace only"),
        ({"documents": []}, "Documents cannot be empty"),
        ({"documents": None}, "Documents cannot be empty"),
        ({"documents": ["a", ""]}, "Each document must be a non-empty string"),
        ({"documents": ["a", " "]}, "Each document cannot be empty or whitespace only"),
        ({"documents": [1]}, "documents: it must be a text, an object"),
        ({"documents": [{"title": "T"}]}, "documents: it must be a text, an object"),
        ({"documents": [{"title": "T"}], "rank_fields": ["body"]}, "none of the rank_fields body"),
        ({"rank_fields": ["title"] * 101}, "rank_fields: 101 are too many"),
        ({"documents": [{"image": "http://x/y.png"}]}, "images and videos cannot be scored here"),
        ({"query": [{"type": "image_url", "image_url": {"url": "x"}}]}, "images and videos"),
        ({"documents": ["x"] * 10_001}, "documents: 10001 are too many"),
        ({"top_n": -1}, "parameter top_n should be larger than 0."),
        ({"top_n": "1"}, "cannot unmarshal string into Go struct field RerankRequest.top_n"),
        ({"truncate_prompt_tokens": 0}, "truncate_prompt_tokens: it is 0"),
        ({"truncation_side": "middle"}, "truncation_side: it must be one of left, right"),
        ({"model": "m m"}, "invalid model name"),
    ],
)
async def test_refused(start: Start, fields: dict[str, object], message: str) -> None:
    async with start(reranker()) as frontend:
        for path in PATHS:
            answer = await frontend.client.post(path, json={**BODY, **fields})
            assert answer.status_code == 400, (path, answer.text)
            assert message in _message(path, answer.json())
        assert frontend.worker.reranks == []


def _message(path: str, body: dict[str, object]) -> str:
    """Cohere's clients read `message`, all others OpenAI's object."""
    if path == "/v2/rerank":
        assert list(body) == ["message"]
        return str(body["message"])
    error = body["error"]
    assert isinstance(error, dict)
    return str(error["message"])


@pytest.mark.parametrize(
    ("error", "status"),
    [(EngineFailed("it broke"), 500), (QueueFull(), 503), (WorkerUnreachable("gone"), 503)],
)
async def test_a_failure_has_the_status_of_its_error(start: Start, error: DroverError, status: int) -> None:
    worker = reranker()
    worker.reranked = error
    async with start(worker) as frontend:
        answer = await frontend.client.post("/v1/rerank", json=BODY)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["type"] == "api_error"


async def test_an_unknown_model(start: Start) -> None:
    async with start(reranker()) as frontend:
        answer = await frontend.client.post("/v1/rerank", json={**BODY, "model": "nope"})
        cohere = await frontend.client.post("/v2/rerank", json={**BODY, "model": "nope"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert (cohere.status_code, cohere.json()) == (404, {"message": "model 'nope' not found"})


async def test_a_model_that_generates_does_not_rerank(frontend: Frontend) -> None:
    named = await frontend.client.post("/v1/rerank", json=BODY)
    unnamed = await frontend.client.post("/v1/rerank", json={**BODY, "model": ""})

    assert (named.status_code, unnamed.status_code) == (400, 400)
    assert "does not support rerank" in named.text
    assert "no model of this server supports rerank" in unnamed.text


async def test_the_only_reranker_needs_no_name(start: Start) -> None:
    body = {name: value for name, value in BODY.items() if name != "model"}
    async with start(reranker(names=("ns/ranker:v1", "other"))) as frontend:
        answer = await frontend.client.post("/v1/rerank", json=body)
        assert (answer.status_code, answer.json()["model"]) == (200, "ns/ranker:v1")
        (request,) = frontend.worker.reranks
    assert request.model == "ns/ranker:v1"


async def test_fields_without_effect_are_named(start: Start) -> None:
    worker = reranker()
    assert isinstance(worker.reranked, pb.RerankResponse)
    worker.reranked.not_honoured.append("instruction")
    worker.reranked.truncated_tokens = 3
    async with start(worker) as frontend:
        answer = await frontend.client.post(
            "/v1/rerank",
            json={**BODY, "instruction": "i", "truncation_side": "left", "priority": 1, "user": "u"},
        )
    assert answer.headers["x-drover-not-honoured"] == "instruction, priority, truncation_side"
    assert answer.headers["x-drover-truncated-tokens"] == "3"


async def test_the_log_line(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "drover.request")
    async with start(reranker()) as frontend:
        await frontend.client.post("/v1/rerank", json=BODY)

    (line,) = [each.__dict__["fields"] for each in caplog.records if each.name == "drover.request"]
    assert (line["model"], line["scores"], line["prompt_tokens"]) == ("m", 3, 9)
    assert line["worker"] == "fake:1"


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_leaves_frees_the_worker(start: Start, path: str) -> None:
    worker = reranker()
    worker.reranked = None
    async with start(worker) as frontend:
        client = await RawClient.post(frontend.port, path, BODY)
        await until(lambda: bool(worker.reranks), DEADLINE_SECONDS, "the worker gets the request")
        client.leave()
        await until(worker.scoring_cancelled.is_set, DEADLINE_SECONDS, "the request is cancelled")


async def test_scores_that_are_missing_are_a_violation(start: Start) -> None:
    async with start(reranker(0.5)) as frontend:
        answer = await frontend.client.post("/v1/rerank", json=BODY)
    assert answer.status_code == 500
    assert "1 scores of 3 documents" in answer.text
