"""Budgets of a request that moves: what counts, what starts anew, and what others have to wait for."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import (
    EngineFailed,
    InvalidRequest,
    QueueFull,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.admission.queue import Ticket
from frontend.fleet.delivery import events_of
from frontend.fleet.fleet import embeds
from tests.fakes.fleets import Told
from tests.fakes.stalling_worker import STALL, StallingWorker, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.fleet.test_fleet import _name
from tests.unit.frontend.fleet.test_moving import _ask, _fleet, _text, _tokens, _used, _worker

_DEADLINE_SECONDS = 10.0
_GONE = WorkerUnreachable("gone")


async def test_an_answer_that_gets_on_survives_any_number_of_drains() -> None:
    workers = [
        _worker(f"w:{number}", started(), _tokens("x", 7), WorkerDraining("bye")) for number in range(2)
    ]
    asked = 0

    def next_one() -> None:
        nonlocal asked
        asked += 1
        if asked == 9:
            for worker in workers:
                worker.steps = (started(), _tokens("end", 8), done())

    for worker in workers:
        worker.on_submit = next_one
    async with _fleet(*workers) as fleet:
        events = await _ask(fleet, Told())

    assert _text(events) == "x" * 9 + "end"


async def test_what_is_wrong_with_a_request_is_said_also_after_a_retry() -> None:
    workers = [_worker(f"w:{number}", _GONE) for number in range(2)]

    def now_refuse() -> None:
        for worker in workers:
            worker.steps = (InvalidRequest("bad"),)

    for worker in workers:
        worker.on_submit = now_refuse
    async with _fleet(*workers) as fleet:
        with pytest.raises(InvalidRequest, match="bad"):
            await _ask(fleet, Told())


async def test_a_full_worker_is_not_stormed() -> None:
    worker = _worker("w:1", QueueFull())
    worker.report = pb.LoadReport(running_limit=4, frontends=1)
    async with _fleet(worker) as fleet:
        tasks = [asyncio.create_task(_ask(fleet, Told())) for _ in range(20)]
        await until(lambda: bool(worker.handles), _DEADLINE_SECONDS, "it is asked")
        reports_before = len(worker.handles)
        await asyncio.sleep(0.2)
        # A report each 0.02 s, and after each as many as there is room for.
        assert len(worker.handles) - reports_before < 15 * 5
        worker.steps = (started(), content("hi"), done())
        assert {_text(events) for events in await asyncio.gather(*tasks)} == {"hi"}
        assert fleet._members[0].load == 0


async def test_an_answer_that_has_begun_waits_for_a_full_worker() -> None:
    workers = [_worker(f"w:{number}", started(), _tokens("one ", 7), _GONE) for number in range(2)]
    refusals = 0

    def full_twice() -> None:
        nonlocal refusals
        refusals += 1
        for worker in workers:
            worker.steps = (QueueFull(),) if refusals < 3 else (started(), _tokens("two", 8), done())

    for worker in workers:
        worker.on_submit = full_twice
    async with _fleet(*workers) as fleet:
        assert _text(await _ask(fleet, Told())) == "one two"
    assert refusals == 4


async def test_one_that_failed_here_keeps_nobody_else_from_here() -> None:
    failing = _worker("w:1", EngineFailed("no memory"))
    full = _worker("w:2", started(), STALL)
    for worker in (failing, full):
        worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with _fleet(failing, full) as fleet:
        blocking = [asyncio.create_task(_ask(fleet, Told())) for _ in range(8)]
        await until(lambda: len(full.handles) >= 2, _DEADLINE_SECONDS, "one is full")
        failing.steps = (started(), content("hi"), done())
        assert _text(await _ask(fleet, Told())) == "hi"
        for task in blocking:
            task.cancel()
        await asyncio.wait(blocking)
        assert [member.load for member in fleet._members] == [0, 0]


async def test_two_models_take_turns_of_their_own() -> None:
    workers = [
        StallingWorker(f"w:{model}{number}", (started(), done()), pb.Model(names=[model], digest=model))
        for model in "xy"
        for number in range(2)
    ]
    async with _fleet(*workers) as fleet:
        for _ in range(4):
            for model in "xy":
                found = fleet.find(_name(model))
                assert found is not None
                async for _ in events_of(fleet.submit(found, pb.GenerateRequest(), Ticket(), Told())):
                    pass

    assert _used(*workers) == [2, 2, 2, 2]


async def test_a_full_worker_is_waited_for_by_embeddings_too() -> None:
    worker = _worker("w:1", can=pb.Capabilities(embedding=True))
    worker.embedded = QueueFull()
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with _fleet(worker) as fleet:
        model = fleet.find(_name("m"), embeds)
        assert model is not None
        asking = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), Told()))
        await until(lambda: bool(worker.embeddings), _DEADLINE_SECONDS, "it is asked")
        worker.embedded = pb.EmbedResponse(prompt_tokens=3)
        assert (await asyncio.wait_for(asking, _DEADLINE_SECONDS)).prompt_tokens == 3


async def test_embeddings_leave_a_worker_that_is_lost() -> None:
    workers = [_worker(f"w:{number}", can=pb.Capabilities(embedding=True)) for number in range(2)]
    async with _fleet(*workers) as fleet:
        model = fleet.find(_name("m"), embeds)
        assert model is not None
        asking = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), Told()))
        await until(lambda: any(worker.embeddings for worker in workers), _DEADLINE_SECONDS, "one is asked")
        lost, other = sorted(workers, key=lambda worker: not worker.embeddings)
        other.embedded = pb.EmbedResponse(prompt_tokens=3)
        lost.refusal = _GONE
        assert (await asyncio.wait_for(asking, _DEADLINE_SECONDS)).prompt_tokens == 3
