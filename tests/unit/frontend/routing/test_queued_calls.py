"""Requests to rerank and to classify: they queue, and another worker gets them when one fails."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from drover.errors import (
    DroverError,
    EngineFailed,
    EngineStalled,
    ProtocolBroken,
    QueueFull,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing import managed_worker
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet, can_classify, can_rerank
from frontend.routing.served_model import ServedModel
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_DEADLINE_SECONDS = 30.0
_REQUEST = pb.RerankRequest(queries=["q"], documents=["a"])
_Response = pb.RerankResponse | pb.ClassifyResponse | pb.ScoreResponse
_Call = Callable[[Fleet, ServedModel], Awaitable[object]]


def _rerank(fleet: Fleet, model: ServedModel) -> Awaitable[object]:
    return fleet.rerank(model, _REQUEST, Ticket(), ObservedFailovers())


def _classify(fleet: Fleet, model: ServedModel) -> Awaitable[object]:
    request = pb.ClassifyRequest(inputs=[pb.ClassifyInput(text="x")])
    return fleet.classify(model, request, Ticket(), ObservedFailovers())


def _score(fleet: Fleet, model: ServedModel) -> Awaitable[object]:
    request = pb.ScoreRequest(items=[pb.ScoreItem(raw="x", label_ids=[1])])
    return fleet.score(model, request, Ticket(), ObservedFailovers())


def _workers(count: int, can: pb.Capabilities) -> list[StallingWorker]:
    model = pb.Model(names=["m"], digest="d", capabilities=can)
    return [
        StallingWorker(
            f"w:{number}",
            described=model,
            reranked=pb.RerankResponse(scores=[number], prompt_tokens=3),
            classified=pb.ClassifyResponse(
                classifications=[pb.Classification(probabilities=[1])], labels=["a"], prompt_tokens=3
            ),
        )
        for number in range(count)
    ]


async def _started(workers: list[StallingWorker], wait_seconds: float = 1.0) -> Fleet:
    fleet = fleet_of(*workers, wait_seconds=wait_seconds)
    await fleet.start()
    await until(
        lambda: sum(worker.ready for worker in fleet.workers()) == len(workers),
        _DEADLINE_SECONDS,
        "all are ready",
    )
    return fleet


@pytest.mark.parametrize("error", [EngineFailed("broke"), WorkerUnreachable("gone"), ProtocolBroken("odd")])
async def test_another_worker_reranks_when_one_fails(error: DroverError) -> None:
    workers = _workers(2, pb.Capabilities(rerank=True))
    workers[0].reranked = error
    fleet = await _started(workers)
    model, observer = fleet.find(_name("m"), can_rerank), ObservedFailovers()
    assert model is not None
    try:
        answers = [await fleet.rerank(model, _REQUEST, Ticket("c", "r"), observer) for _ in range(2)]
    finally:
        await fleet.stop()
    assert [list(answer.scores) for answer in answers] == [[1], [1]]
    assert observer.retries


async def test_another_worker_classifies_when_one_fails() -> None:
    workers = _workers(2, pb.Capabilities(classify=True))
    workers[0].classified = EngineFailed("broke")
    fleet = await _started(workers)
    model, observer = fleet.find(_name("m"), can_classify), ObservedFailovers()
    assert model is not None
    try:
        request = pb.ClassifyRequest(inputs=[pb.ClassifyInput(text="x")])
        answers = [await fleet.classify(model, request, Ticket("c", "r"), observer) for _ in range(2)]
    finally:
        await fleet.stop()
    assert [answer.prompt_tokens for answer in answers] == [3, 3]
    assert observer.retries


@pytest.mark.parametrize(
    ("response", "call"),
    [
        (pb.RerankResponse(scores=[math.nan]), _rerank),
        (pb.ClassifyResponse(classifications=[pb.Classification()]), _classify),
        (
            pb.ClassifyResponse(classifications=[pb.Classification(probabilities=[-math.inf])], labels=["a"]),
            _classify,
        ),
        (pb.ScoreResponse(results=[pb.ScoreResult(logprobs=[-math.inf], label_ids=[1])]), _score),
    ],
)
async def test_what_is_no_number_is_a_violation(response: _Response, call: _Call) -> None:
    (worker,) = workers = _workers(1, pb.Capabilities(rerank=True, classify=True, completion=True))
    match response:
        case pb.RerankResponse():
            worker.reranked = response
        case pb.ClassifyResponse():
            worker.classified = response
        case pb.ScoreResponse():
            worker.scored = response
    fleet = await _started(workers)
    model = fleet.find(_name("m"), can_rerank)
    assert model is not None
    try:
        with pytest.raises(ProtocolBroken):
            await call(fleet, model)
    finally:
        await fleet.stop()


async def test_a_full_worker_is_waited_for() -> None:
    (worker,) = workers = _workers(1, pb.Capabilities(rerank=True))
    worker.reranked = QueueFull()
    fleet = await _started(workers)
    model = fleet.find(_name("m"), can_rerank)
    assert model is not None
    try:
        asking = asyncio.create_task(fleet.rerank(model, _REQUEST, Ticket(), ObservedFailovers()))
        await until(lambda: bool(worker.reranks), _DEADLINE_SECONDS, "it is asked")
        worker.reranked = pb.RerankResponse(scores=[0.5])
        assert list((await asyncio.wait_for(asking, _DEADLINE_SECONDS)).scores) == [0.5]
    finally:
        await fleet.stop()


async def test_a_request_under_which_a_worker_stalls_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(managed_worker, "_SILENCE_SECONDS", 0.3)
    workers = _workers(2, pb.Capabilities(rerank=True))
    for worker in workers:
        worker.reranked = None
    fleet = await _started(workers)
    model = fleet.find(_name("m"), can_rerank)
    assert model is not None
    try:
        asking = asyncio.create_task(fleet.rerank(model, _REQUEST, Ticket(), ObservedFailovers()))
        await until(lambda: any(each.reranks for each in workers), _DEADLINE_SECONDS, "one is asked")
        stalled = next(each for each in workers if each.reranks)
        stalled.is_silent = True
        with pytest.raises(EngineStalled):
            await asyncio.wait_for(asking, _DEADLINE_SECONDS)
        with pytest.raises(EngineStalled):
            await fleet.rerank(model, _REQUEST, Ticket(), ObservedFailovers())
    finally:
        await fleet.stop()
    assert [len(each.reranks) for each in workers if each is not stalled] == [0]
