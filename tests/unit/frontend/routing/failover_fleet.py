"""Fleets of fake workers, for tests of failover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from drover.errors import (
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.stalling_worker import StallingWorker, Step
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

DEADLINE_SECONDS = 30.0


GONE = WorkerUnreachable("gone")


RESUMES = pb.Capabilities(completion=True, resume=True, json_constraint=True)


def tokens(text: str, *ids: int) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=text, token_ids=ids)])


def resumable_worker(address: str, *steps: Step, can: pb.Capabilities = RESUMES) -> StallingWorker:
    return StallingWorker(address, steps, pb.Model(names=["m"], digest="d", capabilities=can))


@asynccontextmanager
async def failover_fleet(*workers: StallingWorker, max_waiting: int = 512) -> AsyncIterator[Fleet]:
    fleet = fleet_of(*workers, wait_seconds=0.3, max_waiting=max_waiting)
    await fleet.start()
    try:
        able = sum(worker.refusal is None for worker in workers)
        await until(lambda: _ready(fleet) == able, DEADLINE_SECONDS, "all are ready")
        yield fleet
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(member.ready for member in fleet._workers)


async def collect(
    fleet: Fleet, observer: ObservedFailovers, request: pb.GenerateRequest | None = None
) -> list[pb.GenerateEvent]:
    model = fleet.find(_name("m"))
    assert model is not None
    request = request or pb.GenerateRequest(raw="p")
    async with asyncio.timeout(DEADLINE_SECONDS):
        return [event async for event in events_of(fleet.submit(model, request, Ticket("c", "r"), observer))]


def text_of(events: Sequence[pb.GenerateEvent]) -> str:
    return "".join(delta.content for event in events for delta in event.deltas)


def used(*workers: StallingWorker) -> list[int]:
    return [len(worker.handles) for worker in workers]
