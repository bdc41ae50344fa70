"""Limits of failover: attempts, progress that resets them, full workers, and other requests meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from drover.errors import (
    EngineFailed,
    InvalidRequest,
    QueueFull,
    WorkerDraining,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import can_embed
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import STALL, StallingWorker, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.routing.failover_fleet import (
    DEADLINE_SECONDS,
    GONE,
    collect,
    failover_fleet,
    resumable_worker,
    text_of,
    tokens,
    used,
)
from tests.unit.frontend.routing.test_fleet import _name


async def test_a_response_with_progress_survives_any_number_of_drains() -> None:
    workers = [
        resumable_worker(f"w:{number}", started(), tokens("x", 7), WorkerDraining("bye"))
        for number in range(2)
    ]
    asked = 0

    def next_one() -> None:
        nonlocal asked
        asked += 1
        if asked == 9:
            for worker in workers:
                worker.steps = (started(), tokens("end", 8), done())

    for worker in workers:
        worker.on_submit = next_one
    async with failover_fleet(*workers) as fleet:
        events = await collect(fleet, ObservedFailovers())

    assert text_of(events) == "x" * 9 + "end"


class OneReport(StallingWorker):
    """Reports once."""

    async def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        yield self.report
        await asyncio.Event().wait()


async def test_a_worker_that_drains_is_not_asked_again_until_it_reports() -> None:
    """Else all attempts of a request are spent on it, where no other worker is there yet."""
    worker = OneReport("w:1", [WorkerDraining("bye")], resumable_worker("w:1").described)
    async with failover_fleet(worker) as fleet:
        with pytest.raises(WorkerDraining):
            await collect(fleet, ObservedFailovers())

    assert len(worker.handles) == 1


async def test_an_invalid_request_is_reported_also_after_a_retry() -> None:
    workers = [resumable_worker(f"w:{number}", GONE) for number in range(2)]

    def now_refuse() -> None:
        for worker in workers:
            worker.steps = (InvalidRequest("bad"),)

    for worker in workers:
        worker.on_submit = now_refuse
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(InvalidRequest, match="bad"):
            await collect(fleet, ObservedFailovers())


async def test_a_full_worker_is_not_retried_without_pause() -> None:
    worker = resumable_worker("w:1", QueueFull())
    worker.report = pb.LoadReport(running_limit=4, frontends=1)
    async with failover_fleet(worker) as fleet:
        tasks = [asyncio.create_task(collect(fleet, ObservedFailovers())) for _ in range(20)]
        await until(lambda: bool(worker.handles), DEADLINE_SECONDS, "it is asked")
        reports_before = len(worker.handles)
        await asyncio.sleep(0.2)
        # A report each 0.02 s, and after each as many as there is room for.
        assert len(worker.handles) - reports_before < 15 * 5
        worker.steps = (started(), content("hi"), done())
        assert {text_of(events) for events in await asyncio.gather(*tasks)} == {"hi"}
        assert fleet._workers[0].load == 0


async def test_a_response_that_has_begun_waits_for_a_full_worker() -> None:
    workers = [resumable_worker(f"w:{number}", started(), tokens("one ", 7), GONE) for number in range(2)]
    refusals = 0

    def full_twice() -> None:
        nonlocal refusals
        refusals += 1
        for worker in workers:
            worker.steps = (QueueFull(),) if refusals < 3 else (started(), tokens("two", 8), done())

    for worker in workers:
        worker.on_submit = full_twice
    async with failover_fleet(*workers) as fleet:
        assert text_of(await collect(fleet, ObservedFailovers())) == "one two"
    assert refusals == 4


async def test_a_failure_of_one_request_does_not_exclude_the_worker_for_others() -> None:
    failing = resumable_worker("w:1", EngineFailed("no memory"))
    full = resumable_worker("w:2", started(), STALL)
    for worker in (failing, full):
        worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(failing, full) as fleet:
        blocking = [asyncio.create_task(collect(fleet, ObservedFailovers())) for _ in range(8)]
        await until(lambda: len(full.handles) >= 2, DEADLINE_SECONDS, "one is full")
        failing.steps = (started(), content("hi"), done())
        assert text_of(await collect(fleet, ObservedFailovers())) == "hi"
        for task in blocking:
            task.cancel()
        await asyncio.wait(blocking)
        assert [member.load for member in fleet._workers] == [0, 0]


async def test_round_robin_is_even_for_each_of_two_models() -> None:
    workers = [
        StallingWorker(f"w:{model}{number}", (started(), done()), pb.Model(names=[model], digest=model))
        for model in "xy"
        for number in range(2)
    ]
    async with failover_fleet(*workers) as fleet:
        for _ in range(4):
            for model in "xy":
                found = fleet.find(_name(model))
                assert found is not None
                async for _ in events_of(
                    fleet.submit(found, pb.GenerateRequest(), Ticket(), ObservedFailovers())
                ):
                    pass

    assert used(*workers) == [2, 2, 2, 2]


async def test_a_full_worker_is_waited_for_by_embeddings_too() -> None:
    worker = resumable_worker("w:1", can=pb.Capabilities(embedding=True))
    worker.embedded = QueueFull()
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with failover_fleet(worker) as fleet:
        model = fleet.find(_name("m"), can_embed)
        assert model is not None
        asking = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), ObservedFailovers()))
        await until(lambda: bool(worker.embeddings), DEADLINE_SECONDS, "it is asked")
        worker.embedded = pb.EmbedResponse(prompt_tokens=3)
        assert (await asyncio.wait_for(asking, DEADLINE_SECONDS)).prompt_tokens == 3


async def test_embeddings_of_a_lost_worker_are_retried() -> None:
    workers = [resumable_worker(f"w:{number}", can=pb.Capabilities(embedding=True)) for number in range(2)]
    async with failover_fleet(*workers) as fleet:
        model = fleet.find(_name("m"), can_embed)
        assert model is not None
        asking = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), ObservedFailovers()))
        await until(lambda: any(worker.embeddings for worker in workers), DEADLINE_SECONDS, "one is asked")
        lost, other = sorted(workers, key=lambda worker: not worker.embeddings)
        other.embedded = pb.EmbedResponse(prompt_tokens=3)
        lost.refusal = GONE
        assert (await asyncio.wait_for(asking, DEADLINE_SECONDS)).prompt_tokens == 3
