"""/score and /classify, with and without /v1: the shapes of bodies and responses."""

from __future__ import annotations

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Start
from tests.unit.frontend.api.test_rerank import reranker

_SCORE = ("/score", "/v1/score")
_CLASSIFY = ("/classify", "/v1/classify")


@pytest.mark.parametrize("path", _SCORE)
async def test_scores_are_in_the_order_of_the_pairs(start: Start, path: str) -> None:
    async with start(reranker()) as frontend:
        body = {"model": "m", "text_1": "q", "text_2": ["a", "b", "c"]}
        scores = (await frontend.client.post(path, json=body)).json()

    assert str(scores.pop("id")).startswith("score-")
    assert isinstance(scores.pop("created"), int)
    assert scores == {
        "object": "list",
        "model": "m",
        "data": [
            {"index": 0, "object": "score", "score": 0.25},
            {"index": 1, "object": "score", "score": 0.75},
            {"index": 2, "object": "score", "score": 0.5},
        ],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }


@pytest.mark.parametrize(
    ("fields", "first", "second"),
    [
        ({"text_1": "q", "text_2": "a"}, ["q"], ["a"]),
        ({"queries": "q", "documents": ["a", "b"]}, ["q"], ["a", "b"]),
        ({"queries": ["q"], "items": ["a", "b"]}, ["q"], ["a", "b"]),
        ({"data_1": ["q", "r"], "data_2": ["a", "b"]}, ["q", "r"], ["a", "b"]),
        ({"data_1": {"content": [{"type": "text", "text": "q"}]}, "data_2": [{"text": "a"}]}, ["q"], ["a"]),
        ({"data_1": [{"type": "text", "text": "q"}], "data_2": "a"}, ["q"], ["a"]),
    ],
)
async def test_pairs_reach_the_worker(
    start: Start, fields: dict[str, object], first: list[str], second: list[str]
) -> None:
    async with start(reranker(*[0.5] * len(second))) as frontend:
        answer = await frontend.client.post("/v1/score", json={"model": "m", **fields})
        assert answer.status_code == 200, answer.text
        (request,) = frontend.worker.reranks
    assert ([*request.queries], [*request.documents], request.raw) == (first, second, False)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"text_1": "q"}, "one of text_2, documents, items, data_2 is required"),
        ({"text_2": "q"}, "one of text_1, queries, data_1, query is required"),
        ({"text_1": ["q", "r"], "text_2": ["a", "b", "c"]}, "can be 1:1, 1:N or N:N"),
        ({"text_1": ["q", "r"], "text_2": ["a"]}, "can be 1:1, 1:N or N:N"),
        ({"text_1": "q", "text_2": ["a", ""]}, "text_2: each text must be a non-empty string"),
        ({"text_1": "q", "text_2": []}, "text_2: each text must be a non-empty string"),
        ({"text_1": "q", "text_2": [1]}, "text_2: it must be a text"),
    ],
)
async def test_pairs_are_refused(start: Start, fields: dict[str, object], message: str) -> None:
    async with start(reranker()) as frontend:
        answer = await frontend.client.post("/v1/score", json={"model": "m", **fields})
        assert (answer.status_code, frontend.worker.reranks) == (400, [])
    assert message in answer.json()["error"]["message"]


async def test_a_raw_score(start: Start) -> None:
    async with start(reranker(-3.5)) as frontend:
        body = {"text_1": "q", "text_2": "a", "use_activation": False}
        answer = await frontend.client.post("/v1/score", json=body)
        assert frontend.worker.reranks[0].raw
    assert answer.json()["data"][0]["score"] == -3.5


def _classifier(*rows: tuple[float, ...]) -> StallingWorker:
    model = pb.Model(names=["m:latest"], digest="d", capabilities=pb.Capabilities(classify=True))
    response = pb.ClassifyResponse(
        classifications=[pb.Classification(probabilities=row) for row in rows],
        labels=["bad", "good"],
        prompt_tokens=4,
    )
    return StallingWorker(described=model, classified=response)


@pytest.mark.parametrize("path", _CLASSIFY)
async def test_the_likeliest_class_and_all_probabilities(start: Start, path: str) -> None:
    async with start(_classifier((0.25, 0.75), (0.9, 0.1))) as frontend:
        classes = (await frontend.client.post(path, json={"model": "m", "input": ["a", "b"]})).json()

    assert str(classes.pop("id")).startswith("classify-")
    assert isinstance(classes.pop("created"), int)
    assert classes == {
        "object": "list",
        "model": "m",
        "data": [
            {"index": 0, "label": "good", "probs": [0.25, 0.75], "num_classes": 2},
            {"index": 1, "label": "bad", "probs": [0.9, 0.1], "num_classes": 2},
        ],
        "usage": {
            "prompt_tokens": 4,
            "total_tokens": 4,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


_TEXT = pb.ClassifyInput(text="a")
_IDS = pb.ClassifyInput(tokens=pb.TokenIds(ids=[1, 2]))


@pytest.mark.parametrize(
    ("given", "inputs"),
    [
        ("a", [_TEXT]),
        (["a", "a"], [_TEXT, _TEXT]),
        ([1, 2], [_IDS]),
        ([[1, 2], [1, 2]], [_IDS, _IDS]),
    ],
)
async def test_inputs_reach_the_worker(start: Start, given: object, inputs: list[pb.ClassifyInput]) -> None:
    async with start(_classifier(*[(0.5, 0.5)] * len(inputs))) as frontend:
        answer = await frontend.client.post("/v1/classify", json={"input": given})
        assert answer.status_code == 200, answer.text
        (request,) = frontend.worker.classifications
    assert list(request.inputs) == inputs


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "Input cannot be empty"),
        ([], "Input cannot be empty"),
        (None, "Input cannot be empty"),
        ([[]], "Input cannot be empty"),
        (" ", "Input cannot be empty or whitespace only"),
        (["a", " "], "Input at index 1 cannot be empty or whitespace only"),
        (["a", 1], "All items in input list must be strings"),
        ([1, "a"], "All items in input list must be integers"),
        ([1, -2], "Token ID at index 1 must be non-negative"),
        (5, "cannot unmarshal number into Go struct field ClassifyRequest.input"),
    ],
)
async def test_inputs_are_refused_in_sglangs_words(start: Start, given: object, message: str) -> None:
    async with start(_classifier()) as frontend:
        answer = await frontend.client.post("/v1/classify", json={"model": "m", "input": given})
        assert (answer.status_code, frontend.worker.classifications) == (400, [])
    assert message in answer.json()["error"]["message"]


async def test_a_row_that_does_not_fit_the_labels_is_a_violation(start: Start) -> None:
    async with start(_classifier((0.2, 0.3, 0.5))) as frontend:
        answer = await frontend.client.post("/v1/classify", json={"model": "m", "input": "a"})
    assert answer.status_code == 500
    assert "not one probability for each of 2 labels" in answer.text


async def test_a_reranker_does_not_classify_nor_a_classifier_rerank(start: Start) -> None:
    async with start(reranker()) as frontend:
        classify = await frontend.client.post("/v1/classify", json={"model": "m", "input": "a"})
    async with start(_classifier((0.5, 0.5))) as frontend:
        body = {"model": "m", "query": "q", "documents": ["a"]}
        rerank = await frontend.client.post("/v1/rerank", json=body)
        score = await frontend.client.post("/v1/score", json={"model": "m", "text_1": "q", "text_2": "a"})
    assert [each.status_code for each in (classify, rerank, score)] == [400, 400, 400]
    assert "does not support classify" in classify.text
    assert "does not support rerank" in rerank.text


async def test_leaving_frees_the_worker(start: Start) -> None:
    worker = _classifier()
    worker.classified = None
    async with start(worker) as frontend:
        client = await RawClient.post(frontend.port, "/v1/classify", {"model": "m", "input": "a"})
        await until(lambda: bool(worker.classifications), DEADLINE_SECONDS, "the worker gets the request")
        client.leave()
        await until(worker.scoring_cancelled.is_set, DEADLINE_SECONDS, "the request is cancelled")
