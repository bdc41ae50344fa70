"""Scores of labels on their way to a worker: retried elsewhere, checked, cancelled, refused after a stall."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import (
    CapabilityMissing,
    DroverError,
    EngineFailed,
    EngineStalled,
    ProtocolBroken,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.policies.affinity import affinity_of_scores
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.routing.failover_fleet import DEADLINE_SECONDS, failover_fleet, resumable_worker
from tests.unit.frontend.routing.test_fleet import _name

_GOOD = pb.ScoreResponse(
    results=[
        pb.ScoreResult(logprobs=[-1, -2], label_ids=[4, 5]),
        pb.ScoreResult(logprobs=[-3], label_ids=[6]),
    ],
    prompt_tokens=7,
)


def _request() -> pb.ScoreRequest:
    return pb.ScoreRequest(
        items=[pb.ScoreItem(raw="x", labels=["A", "B"]), pb.ScoreItem(raw="y", label_ids=[6])]
    )


async def _score(fleet: Fleet, observer: ObservedFailovers | None = None) -> pb.ScoreResponse:
    model = fleet.find(_name("m"))
    assert model is not None
    asked = fleet.score(model, _request(), Ticket("c", "r"), observer or ObservedFailovers())
    return await asyncio.wait_for(asked, DEADLINE_SECONDS)


def _workers(*scored: pb.ScoreResponse | DroverError | None) -> list[StallingWorker]:
    workers = [resumable_worker(f"w:{number}") for number in range(len(scored))]
    for worker, each in zip(workers, scored, strict=True):
        worker.scored = each
    return workers


@pytest.mark.parametrize("failure", [WorkerUnreachable("gone"), EngineFailed("broken")], ids=str)
async def test_a_lost_worker_s_scores_come_from_another_one(failure: DroverError) -> None:
    lost, other = _workers(failure, _GOOD)
    async with failover_fleet(lost, other) as fleet:
        for _ in range(2):
            assert (await _score(fleet)).prompt_tokens == 7
        assert [member.load for member in fleet._workers] == [0, 0]
    assert lost.scores
    ids = [request.request_id for worker in (lost, other) for request in worker.scores]
    assert len(set(ids)) == len(ids)


async def test_what_the_request_has_to_change_is_not_retried() -> None:
    workers = _workers(CapabilityMissing("no such label"), CapabilityMissing("no such label"))
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(CapabilityMissing):
            await _score(fleet)
    assert sum(len(worker.scores) for worker in workers) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pb.ScoreResponse(),
        pb.ScoreResponse(results=_GOOD.results[:1]),
        pb.ScoreResponse(results=[_GOOD.results[1], _GOOD.results[1]]),
        pb.ScoreResponse(results=[_GOOD.results[0], pb.ScoreResult(logprobs=[-1])]),
        pb.ScoreResponse(results=[_GOOD.results[0], pb.ScoreResult(logprobs=[0.5], label_ids=[6])]),
        pb.ScoreResponse(results=[_GOOD.results[0], pb.ScoreResult(logprobs=[float("nan")], label_ids=[6])]),
    ],
    ids=["none", "few", "labels", "ids", "above 0", "NaN"],
)
async def test_wrong_scores_are_a_violation(wrong: pb.ScoreResponse) -> None:
    only, other = _workers(wrong, _GOOD)
    async with failover_fleet(only, other) as fleet:
        assert (await _score(fleet)).prompt_tokens == 7
    alone = _workers(wrong)
    async with failover_fleet(*alone) as fleet:
        with pytest.raises(ProtocolBroken):
            await _score(fleet)


def _about(*contents: str) -> pb.ScoreRequest:
    request = pb.ScoreRequest()
    for content in contents:
        request.items.add(labels=["A"]).chat.messages.add(role="user", content=content)
    return request


def test_questions_about_one_long_state_have_one_affinity() -> None:
    state = "sheep " * 500
    one = affinity_of_scores(_about(f"{state}One?", f"{state}Two?"), "d")
    assert one is not None
    assert affinity_of_scores(_about(f"{state}Three?"), "d") == one
    assert affinity_of_scores(_about(f"goats {state}One?"), "d") != one
    assert affinity_of_scores(_about(f"{state}One?"), "other") != one
    assert affinity_of_scores(_about("short"), "d") is None


async def test_a_caller_that_leaves_frees_the_worker() -> None:
    (only,) = _workers(None)
    async with failover_fleet(only) as fleet:
        asking = asyncio.create_task(_score(fleet))
        await until(lambda: bool(only.scores), DEADLINE_SECONDS, "it is asked")
        assert fleet._workers[0].load == 1
        asking.cancel()
        await asyncio.wait_for(only.score_cancelled.wait(), DEADLINE_SECONDS)
        await until(lambda: fleet._workers[0].load == 0, DEADLINE_SECONDS, "it is free")


async def test_a_request_under_which_a_worker_stalled_is_refused() -> None:
    (only,) = _workers(EngineStalled("it stopped"))
    async with failover_fleet(only) as fleet:
        with pytest.raises(EngineStalled):
            await _score(fleet)
