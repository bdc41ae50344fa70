"""/v1/score with `label_token_ids`, as SGLang has it."""

from __future__ import annotations

import math

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker
from tests.unit.frontend.api.conftest import Start
from tests.unit.frontend.api.test_rerank import reranker

BODY: dict[str, object] = {"model": "m", "query": "q", "items": ["a", "b"], "label_token_ids": [7, 9]}


def scorer() -> StallingWorker:
    """Its labels have the probabilities 0.5 and 0.25."""
    result = pb.ScoreResult(logprobs=[math.log(0.5), math.log(0.25)], label_ids=[7, 9], prompt_tokens=2)
    response = pb.ScoreResponse(results=[result, result], prompt_tokens=4, cached_tokens=1)
    return StallingWorker(scored=response)


async def _scored(start: Start, **fields: object) -> tuple[dict[str, object], pb.ScoreRequest]:
    worker = scorer()
    items = fields.get("items")
    if items is not None and (isinstance(items, str) or (isinstance(items, list) and len(items) == 1)):
        assert isinstance(worker.scored, pb.ScoreResponse)
        del worker.scored.results[1:]
    async with start(worker) as frontend:
        answer = await frontend.client.post("/v1/score", json={**BODY, **fields})
    assert answer.status_code == 200, answer.text
    scores = answer.json()
    assert isinstance(scores, dict)
    return scores, worker.scores[0]


async def test_probabilities_over_the_vocabulary(start: Start) -> None:
    scores, request = await _scored(start)

    assert scores == {
        "scores": [pytest.approx([0.5, 0.25])] * 2,
        "model": "m",
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
        "object": "scoring",
    }
    assert [item.raw for item in request.items] == ["qa", "qb"]
    assert [list(item.label_ids) for item in request.items] == [[7, 9], [7, 9]]


@pytest.mark.parametrize(
    ("fields", "row"),
    [
        ({"apply_softmax": True}, [2 / 3, 1 / 3]),
        ({"apply_softmax": True, "temperature": 0.5}, [0.8, 0.2]),
        ({"apply_softmax": True, "temperature": 1e-9}, [1.0, 0.0]),
    ],
)
async def test_a_softmax_over_the_labels(start: Start, fields: dict[str, object], row: list[float]) -> None:
    scores, _ = await _scored(start, **fields)
    assert scores["scores"] == [pytest.approx(row)] * 2


async def test_log_probabilities(start: Start) -> None:
    scores, _ = await _scored(start, return_token_logprobs=True)
    assert scores["token_logprobs"] == [pytest.approx([math.log(0.5), math.log(0.25)])] * 2


@pytest.mark.parametrize(
    ("fields", "items"),
    [
        ({"item_first": True}, ["aq", "bq"]),
        ({"items": "a"}, ["qa"]),
        ({"query": None}, ["a", "b"]),
        ({"query": [1], "items": [[2, 3], [4]]}, [[1, 2, 3], [1, 4]]),
        ({"query": [1], "items": [[2, 3]], "item_first": True}, [[2, 3, 1]]),
        ({"query": "", "items": [[2, 3]]}, [[2, 3]]),
    ],
)
async def test_prompts(start: Start, fields: dict[str, object], items: list[object]) -> None:
    _, request = await _scored(start, **fields)
    assert [item.raw or list(item.tokens.ids) for item in request.items] == items


async def test_labels_of_their_own(start: Start) -> None:
    _, request = await _scored(start, label_token_ids=[[1, 2], [3, 4]])
    assert [list(item.label_ids) for item in request.items] == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_token_ids": []}, "label_token_ids must be a nonempty list"),
        ({"label_token_ids": [[]]}, "each item must have a nonempty candidate list"),
        ({"label_token_ids": [-1]}, "label_token_ids must contain nonnegative integers"),
        ({"label_token_ids": ["a"]}, "label_token_ids must contain nonnegative integers"),
        ({"label_token_ids": [1, 1]}, "label_token_ids must not contain duplicate tokens"),
        ({"label_token_ids": [[1], [2], [3]]}, "label_token_ids must have one list per item"),
        ({"items": None}, "items must be provided"),
        ({"temperature": 0.5}, "temperature requires apply_softmax=True"),
        ({"temperature": 0, "apply_softmax": True}, "temperature must be finite and greater than zero"),
        ({"query": [1]}, "both must be texts, or both token ids"),
        ({"score_extraction_token": "x"}, "score_extraction_token reads or changes the numbers inside"),
    ],
)
async def test_refused_in_sglangs_words(start: Start, fields: dict[str, object], message: str) -> None:
    worker = scorer()
    async with start(worker) as frontend:
        answer = await frontend.client.post("/v1/score", json={**BODY, **fields})
    assert (answer.status_code, worker.scores) == (400, []), answer.text
    assert message in answer.json()["error"]["message"]


async def test_the_query_in_front_of_every_item_is_bounded(start: Start) -> None:
    worker = scorer()
    async with start(worker) as frontend:
        body = {**BODY, "query": "q" * 100_000, "items": ["a"] * 1_000}
        answer = await frontend.client.post("/v1/score", json=body)
    assert (answer.status_code, worker.scores) == (400, []), answer.text
    assert "at most 67108864 are possible" in answer.json()["error"]["message"]


async def test_prompts_count_among_the_bodies_in_flight(start: Start) -> None:
    worker = scorer()
    limits = {"max_held_body_bytes": 1_000_000, "max_body_bytes": 100_000}
    async with start(worker, **limits) as frontend:
        body = {**BODY, "query": "q" * 10_000, "items": ["a"] * 500}
        answer = await frontend.client.post("/v1/score", json=body)
    assert (answer.status_code, worker.scores) == (503, []), answer.text


async def test_a_request_waits_by_its_priority_at_the_worker_too(start: Start) -> None:
    worker = scorer()
    async with start(worker) as frontend:
        await frontend.client.post("/v1/score", json=BODY, headers={"x-drover-priority": "-3"})
    assert [request.priority for request in worker.scores] == [-3]


async def test_a_reranker_has_no_labels(start: Start) -> None:
    async with start(reranker()) as frontend:
        answer = await frontend.client.post("/v1/score", json=BODY)
    assert answer.status_code == 400
    assert "does not support generate" in answer.text


async def test_a_query_and_items_without_labels_are_pairs(start: Start) -> None:
    async with start(reranker(0.5, 0.25)) as frontend:
        body = {"model": "m", "query": "q", "items": ["a", "b"]}
        answer = await frontend.client.post("/v1/score", json=body)
        (request,) = frontend.worker.reranks
    assert [each["score"] for each in answer.json()["data"]] == [0.5, 0.25]
    assert ([*request.queries], [*request.documents]) == (["q"], ["a", "b"])
