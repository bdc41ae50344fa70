"""Pools: built once, updated as workers change."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from drover.errors import NoWorkerReady, QueueFull, WorkerUnreachable
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.capacity import WorkerPermit
from frontend.routing.circuit_breaker import CircuitBreaker
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.served_model import ServedModel
from tests.fakes.fleets import fleet_of
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until

_DEADLINE_SECONDS = 30.0
_NAME = ModelName.parse("m")
assert _NAME is not None


def _report(limit: int = 0) -> pb.LoadReport:
    return pb.LoadReport(running_limit=limit, frontends=1)


@pytest.fixture
def workers() -> list[StallingWorker]:
    return [StallingWorker(f"w:{number}", report=_report()) for number in range(4)]


@pytest.fixture
async def fleet(workers: list[StallingWorker]) -> AsyncIterator[Fleet]:
    fleet = fleet_of(*workers)
    await fleet.start()
    await until(lambda: _ready(fleet) == 4, _DEADLINE_SECONDS, "all are ready")
    yield fleet
    await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(seen.ready for seen in fleet.workers())


def _chosen(fleet: Fleet) -> ManagedWorker | None:
    return fleet._scheduler.select(_model(fleet), {})


def _model(fleet: Fleet) -> ServedModel:
    assert _NAME is not None
    model = fleet.find(_NAME)
    assert model is not None
    return model


async def _placed(fleet: Fleet) -> WorkerPermit:
    return (await fleet._scheduler.acquire(_model(fleet), Ticket(), {}))[0]


async def test_a_pool_is_made_again_only_when_a_worker_comes_or_goes(
    fleet: Fleet, workers: list[StallingWorker]
) -> None:
    """Neither a request, nor a full worker, nor a failing one replaces it."""
    model = _model(fleet)
    pool, version = fleet._registry.pool(model.kind), fleet._registry.version
    (await _placed(fleet)).release()
    (await _placed(fleet)).release(QueueFull())
    (await _placed(fleet)).release(WorkerUnreachable("broken"))
    assert (fleet._registry.pool(model.kind), fleet._registry.version) == (pool, version)
    workers[0].refusal = WorkerUnreachable("gone")
    await until(lambda: _ready(fleet) == 3, _DEADLINE_SECONDS, "one is lost")
    assert fleet._registry.pool(model.kind) is not pool


async def test_a_lost_worker_is_not_selected(fleet: Fleet, workers: list[StallingWorker]) -> None:
    workers[0].refusal = WorkerUnreachable("gone")
    await until(lambda: _ready(fleet) == 3, _DEADLINE_SECONDS, "one is lost")
    assert {(await _placed(fleet)).worker.address for _ in range(8)} == {"w:1", "w:2", "w:3"}


async def test_a_worker_that_refuses_is_full_until_a_permit_is_released(fleet: Fleet) -> None:
    permit, other = await _placed(fleet), await _placed(fleet)
    permit.release(QueueFull())
    chosen = [_chosen(fleet) for _ in range(8)]
    assert permit.worker not in chosen
    assert other.worker in chosen


async def test_each_worker_gets_its_share(workers: list[StallingWorker]) -> None:
    for worker in workers:
        worker.report = _report(limit=1)
    fleet = fleet_of(*workers)
    await fleet.start()
    await until(lambda: _ready(fleet) == 4, _DEADLINE_SECONDS, "all are ready")
    # One that runs, and one that waits so that its slot is not empty for a round trip.
    taken = [(await _placed(fleet)).worker.address for _ in range(8)]
    assert sorted(taken) == sorted(2 * [worker.address for worker in workers])
    assert _chosen(fleet) is None
    await fleet.stop()


async def test_a_worker_whose_breaker_is_open_is_selected_last(fleet: Fleet) -> None:
    failing = await _placed(fleet)
    failing.worker.breaker.trip()
    failing.worker.breaker.trip()
    failing.worker.breaker.trip()
    failing.release(WorkerUnreachable("broken"))
    assert failing.worker not in [_chosen(fleet) for _ in range(8)]


async def test_a_half_open_breaker_allows_one_request(fleet: Fleet) -> None:
    """No event reports that its time has passed: each selection reads it."""
    permit = await _placed(fleet)
    member, now = permit.worker, 0.0
    member.breaker = CircuitBreaker(lambda: now)
    for _ in range(3):
        member.grant().release(WorkerUnreachable("broken"))
    assert member not in [_chosen(fleet) for _ in range(8)]
    now = 100.0
    assert member in [_chosen(fleet) for _ in range(8)]
    probe = member.grant()
    assert member not in [_chosen(fleet) for _ in range(8)]
    probe.on_first_event()
    probe.release()
    assert member in [_chosen(fleet) for _ in range(8)]


async def test_if_all_breakers_are_open_a_worker_is_selected_anyway(fleet: Fleet) -> None:
    members = [(await _placed(fleet)).worker for _ in range(4)]
    for member in 3 * members:
        member.grant().release(WorkerUnreachable("broken"))
    assert all(member.breaker.is_open for member in members)
    assert _chosen(fleet) in members


async def test_without_a_ready_worker_none_is_selected(fleet: Fleet, workers: list[StallingWorker]) -> None:
    model = _model(fleet)
    for worker in workers:
        worker.refusal = WorkerUnreachable("gone")
    await until(lambda: _ready(fleet) == 0, _DEADLINE_SECONDS, "all are lost")
    with pytest.raises(NoWorkerReady):
        fleet._scheduler.require_ready(model)
    assert _model(fleet).name.model == "m"
