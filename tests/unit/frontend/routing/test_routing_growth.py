"""How many of 256 workers a request looks at, counted: a few."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from drover.errors import QueueFull, WorkerUnreachable
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.capacity import WorkerPermit
from frontend.routing.discovery.static import Static
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies import PolicyName, policy_of
from frontend.routing.served_model import ServedModel
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until

_READY_SECONDS = 20.0
_WORKERS = 256
_MOST_LOOKS = 8
_REQUESTS = 60
_POLICIES: tuple[PolicyName, ...] = ("prefix", "least_load", "round_robin", "power_of_two")
_NAME = ModelName.parse("m")
assert _NAME is not None


class _Looks:
    """The members of which something was read since `clear`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.members: set[int] = set()
        read = object.__getattribute__

        def counted(member: ManagedWorker, name: str) -> object:
            self.members.add(id(member))
            return read(member, name)

        monkeypatch.setattr(ManagedWorker, "__getattribute__", counted)


@asynccontextmanager
async def _fleet(policy: PolicyName, limit: int) -> AsyncIterator[Fleet]:
    report = pb.LoadReport(running_limit=limit, frontends=1)
    workers = {f"w:{number}": StallingWorker(f"w:{number}", report=report) for number in range(_WORKERS)}
    fleet = Fleet([Static(list(workers))], workers.__getitem__, policy_of(policy), QueueTable(512, 1.0))
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == _WORKERS, _READY_SECONDS, "all are ready")
        yield fleet
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(seen.ready for seen in fleet.workers())


def _model(fleet: Fleet) -> ServedModel:
    assert _NAME is not None
    model = fleet.find(_NAME)
    assert model is not None
    return model


async def _acquired(
    fleet: Fleet, key: bytes | None, failed: dict[ManagedWorker, float] | None = None
) -> WorkerPermit:
    return (await fleet._scheduler.acquire(_model(fleet), Ticket(), failed or {}, key))[0]


def _key(number: int) -> bytes | None:
    return number.to_bytes(4, "big")


def _no_key(number: int) -> bytes | None:
    return None


async def _looks(
    monkeypatch: pytest.MonkeyPatch,
    policy: PolicyName,
    key: Callable[[int], bytes | None],
    *,
    limit: int = 256,
    breaks: bool = False,
    fails: bool = False,
) -> int:
    """Workers that a request looks at, at most. `limit`: requests that each worker runs; with 1, each
    request fills a worker or makes room. `breaks`: a worker's breaker is open. `fails`: each request has
    failed at a worker before.
    """
    async with _fleet(policy, limit) as fleet:
        permits = [await _acquired(fleet, key(number)) for number in range(_WORKERS // 2)]
        if breaks:
            broken = permits[0].worker
            for _ in range(3):
                broken.grant().release(WorkerUnreachable("broken"))
            assert broken.breaker.is_open
        with monkeypatch.context() as patched:
            looks, most = _Looks(patched), 0
            for number in range(_REQUESTS):
                looks.members.clear()
                failed = {permits[-1].worker: 0.0} if fails else {}
                permits.append(await _acquired(fleet, key(number), failed))
                permits.pop(0).release(QueueFull() if number % 7 == 0 else None)
                most = max(most, len(looks.members))
        return most


@pytest.mark.parametrize("policy", _POLICIES)
@pytest.mark.parametrize("key", [_no_key, _key])
@pytest.mark.parametrize(
    "kind", [{}, {"limit": 1}, {"breaks": True}, {"fails": True}], ids=["idle", "full", "broken", "failed"]
)
async def test_a_request_looks_at_no_more_workers_where_there_are_more(
    monkeypatch: pytest.MonkeyPatch,
    policy: PolicyName,
    key: Callable[[int], bytes | None],
    kind: dict[str, bool],
) -> None:
    most = await _looks(monkeypatch, policy, key, **kind)
    assert most <= _MOST_LOOKS


@pytest.mark.parametrize("policy", _POLICIES)
async def test_a_call_looks_at_no_more_workers_either(
    monkeypatch: pytest.MonkeyPatch, policy: PolicyName
) -> None:
    async with _fleet(policy, 1) as fleet:
        model = _model(fleet)
        fleet._scheduler.pick(model)  # What is found out once, when workers come.
        with monkeypatch.context() as patched:
            looks = _Looks(patched)
            fleet._scheduler.pick(model)
            assert len(looks.members) <= 2
        # Each takes one that runs and one that waits: no room is left.
        for number in range(2 * _WORKERS):
            await _acquired(fleet, _key(number))
        with monkeypatch.context() as patched:
            looks = _Looks(patched)
            fleet._scheduler.pick(model)
            assert len(looks.members) <= 2
