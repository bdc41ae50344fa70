"""Permits: who has one, who waits for one, and that none leaks."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import (
    NoWorkerReady,
    QueueFull,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import STALL, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.routing.failover_fleet import (
    DEADLINE_SECONDS,
    GONE,
    collect,
    failover_fleet,
    resumable_worker,
    text_of,
)
from tests.unit.frontend.routing.test_fleet import _name


async def test_a_cancelled_request_releases_its_permit() -> None:
    worker = resumable_worker("w:1", started(), STALL)
    async with failover_fleet(worker) as fleet:
        asking = asyncio.create_task(collect(fleet, ObservedFailovers()))
        await until(lambda: bool(worker.handles), DEADLINE_SECONDS, "it is asked")
        assert fleet._workers[0].load == 1
        asking.cancel()
        await asyncio.wait({asking})

        assert worker.handles[0].cancelled.is_set()
        assert fleet._workers[0].load == 0


async def test_a_full_queue_refuses_requests() -> None:
    worker = resumable_worker("w:1", QueueFull())
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(worker, max_waiting=0) as fleet:
        with pytest.raises(QueueFull):
            await collect(fleet, ObservedFailovers())


async def test_a_queued_request_goes_when_a_permit_is_released() -> None:
    worker = resumable_worker("w:1", started(), STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(worker) as fleet:
        running = [asyncio.create_task(collect(fleet, ObservedFailovers())) for _ in range(2)]
        await until(lambda: len(worker.handles) == 2, DEADLINE_SECONDS, "one runs and one waits there")
        observer = ObservedFailovers()
        waiting = asyncio.create_task(collect(fleet, observer))
        await until(lambda: fleet.queues.waiting == 1, DEADLINE_SECONDS, "the third waits here")
        assert fleet.queues.find("r", "c") is not None
        worker.steps = (started(), content("hi"), done())
        running[0].cancel()

        assert text_of(await waiting) == "hi"
        assert observer.waits[0].position == 1
        running[1].cancel()
        await asyncio.wait(running)
        assert fleet._workers[0].load == 0


async def test_a_cancelled_request_leaves_the_queue() -> None:
    worker = resumable_worker("w:1", started(), STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(worker) as fleet:
        tasks = [asyncio.create_task(collect(fleet, ObservedFailovers())) for _ in range(4)]
        await until(lambda: fleet.queues.waiting == 2, DEADLINE_SECONDS, "two wait here")
        for task in tasks[2:]:
            task.cancel()
        await asyncio.wait(tasks[2:])
        assert fleet.queues.waiting == 0
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert fleet._workers[0].load == 0


async def test_without_a_worker_a_request_fails_at_once() -> None:
    worker = resumable_worker("w:1", started(), done())
    async with failover_fleet(worker) as fleet:
        model = fleet.find(_name("m"))
        assert model is not None
        worker.refusal = GONE
        await until(lambda: not fleet.has_ready_worker, DEADLINE_SECONDS, "it is lost")
        with pytest.raises(NoWorkerReady):
            async for _ in events_of(
                fleet.submit(model, pb.GenerateRequest(), Ticket(), ObservedFailovers())
            ):
                pass
