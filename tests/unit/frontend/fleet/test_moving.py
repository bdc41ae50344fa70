"""A request on several workers one after the other: what its client sees, and when it ends after all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from drover.errors import (
    DroverError,
    EngineFailed,
    InvalidRequest,
    NoWorkerReady,
    QueueFull,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.admission.queue import Ticket
from frontend.fleet.base import Worker
from frontend.fleet.delivery import events_of
from frontend.fleet.fleet import Fleet, embeds
from frontend.fleet.moving.way_on import Stuck, WayOn
from tests.fakes.fleets import Told, fleet_of
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.fleet.test_fleet import _name

_DEADLINE_SECONDS = 10.0
_GONE = WorkerUnreachable("gone")
_RESUMES = pb.Capabilities(completion=True, resume=True, json_constraint=True)


def _tokens(text: str, *ids: int) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=text, token_ids=ids)])


def _worker(address: str, *steps: Step, can: pb.Capabilities = _RESUMES) -> StallingWorker:
    return StallingWorker(address, steps, pb.Model(names=["m"], digest="d", capabilities=can))


@asynccontextmanager
async def _fleet(*workers: StallingWorker, most_waiting: int = 512) -> AsyncIterator[Fleet]:
    fleet = fleet_of(*workers, wait_seconds=0.3, most_waiting=most_waiting)
    await fleet.start()
    try:
        able = sum(worker.refusal is None for worker in workers)
        await until(lambda: _ready(fleet) == able, _DEADLINE_SECONDS, "all are ready")
        yield fleet
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(member.ready for member in fleet._members)


async def _ask(fleet: Fleet, told: Told, request: pb.GenerateRequest | None = None) -> list[pb.GenerateEvent]:
    model = fleet.find(_name("m"))
    assert model is not None
    request = request or pb.GenerateRequest(raw="p")
    async with asyncio.timeout(_DEADLINE_SECONDS):
        return [event async for event in events_of(fleet.submit(model, request, Ticket("c", "r"), told))]


def _text(events: Sequence[pb.GenerateEvent]) -> str:
    return "".join(delta.content for event in events for delta in event.deltas)


def _used(*workers: StallingWorker) -> list[int]:
    return [len(worker.handles) for worker in workers]


async def test_before_the_first_token_it_begins_again_elsewhere() -> None:
    workers = [_worker(f"w:{number}", _GONE) for number in range(2)]
    workers[0].on_submit = lambda: _now_answers(workers[1])
    workers[1].on_submit = lambda: _now_answers(workers[0])
    told = Told()
    async with _fleet(*workers) as fleet:
        events = await _ask(fleet, told)

    assert _text(events) == "hi"
    assert _used(*workers) == [1, 1]
    assert (len(told.retries), told.moves) == (1, [])
    sent = [worker.handles[0].request for worker in workers]
    assert not any(request.HasField("continuation") for request in sent)


def _now_answers(worker: StallingWorker) -> None:
    worker.steps = (started(), content("hi"), done())


async def test_the_beginning_is_told_once() -> None:
    workers = [_worker(f"w:{number}", started(), _GONE) for number in range(2)]
    for one, other in (workers, workers[::-1]):
        one.on_submit = lambda other=other: _now_answers(other)
    async with _fleet(*workers) as fleet:
        events = await _ask(fleet, Told())

    assert [event.HasField("started") for event in events].count(True) == 1


async def test_after_it_the_answer_goes_on() -> None:
    workers = [
        _worker(f"w:{n}", started(), _tokens("one ", 7, 8), _tokens("two ", 9), _GONE) for n in range(2)
    ]
    for one, other in (workers, workers[::-1]):
        one.on_submit = lambda other=other: _now_ends(other)
    told = Told()
    async with _fleet(*workers) as fleet:
        events = await _ask(fleet, told)

    assert _text(events) == "one two three"
    assert told.moves == [WayOn.CONTINUE]
    (continued,) = [
        handle.request.continuation
        for worker in workers
        for handle in worker.handles
        if handle.request.HasField("continuation")
    ]
    assert list(continued.prompt_ids) == [1]
    assert list(continued.produced_ids) == [7, 8, 9]
    assert continued.content_characters_sent == len("one two ")
    assert continued.timings.prefill_ns > 0


def _now_ends(worker: StallingWorker) -> None:
    worker.steps = (started(), _tokens("three", 10), done())


async def test_attempts_have_ids_of_their_own() -> None:
    workers = [_worker(f"w:{number}", _GONE) for number in range(3)]
    seen: list[str] = []
    async with _fleet(*workers) as fleet:
        for worker in workers:
            worker.on_submit = lambda worker=worker: seen.append(worker.handles[-1].request.request_id)
        with pytest.raises(WorkerUnreachable):
            await _ask(fleet, Told())

    assert len(seen) == len(set(seen)) >= 3


async def test_a_request_that_breaks_engines_does_not_go_through_all_of_them() -> None:
    workers = [_worker(f"w:{number}", EngineFailed("out of memory")) for number in range(5)]
    async with _fleet(*workers) as fleet:
        with pytest.raises(EngineFailed, match="out of memory"):
            await _ask(fleet, Told())

    assert sum(_used(*workers)) == 2


async def test_engines_that_fail_do_not_get_twice_the_load_for_it() -> None:
    workers = [_worker(f"w:{number}", EngineFailed("out of memory")) for number in range(2)]
    async with _fleet(*workers) as fleet:
        answers = await asyncio.gather(*(_ask(fleet, Told()) for _ in range(100)), return_exceptions=True)

    assert all(isinstance(answer, EngineFailed) for answer in answers)
    # Twenty at once and a fifth of the hundred.
    assert 120 <= sum(_used(*workers)) <= 140


async def test_a_bad_request_is_tried_once() -> None:
    workers = [_worker(f"w:{number}", InvalidRequest("bad")) for number in range(3)]
    async with _fleet(*workers) as fleet:
        with pytest.raises(InvalidRequest):
            await _ask(fleet, Told())

    assert sum(_used(*workers)) == 1


@pytest.mark.parametrize("before", [[], [started(), _tokens("one ", 7)]], ids=["no token", "mid-answer"])
@pytest.mark.parametrize("gone", [_GONE, WorkerDraining("bye"), EngineFailed("it broke")])
async def test_the_only_worker_is_waited_for(before: list[pb.GenerateEvent], gone: DroverError) -> None:
    only = _worker("w:1", *before, gone)
    only.on_submit = lambda: _leaves(only)
    async with _fleet(only) as fleet:
        asking = asyncio.create_task(_ask(fleet, Told()))
        await until(lambda: not fleet.has_ready_worker, _DEADLINE_SECONDS, "it is away")
        only.on_submit = None
        only.steps = (started(), _tokens("two", 8), done())
        only.refusal = None

        assert _text(await asking) == ("one two" if before else "two")
    assert _used(only) == [2]


def _leaves(worker: StallingWorker) -> None:
    worker.refusal = _GONE


async def test_the_only_worker_is_not_waited_for_longer_than_moves_may_take() -> None:
    only = _worker("w:1", started(), _tokens("one ", 7), WorkerDraining("grace is over"))
    only.on_submit = lambda: _leaves(only)
    async with _fleet(only) as fleet:
        with pytest.raises(WorkerDraining):
            await _ask(fleet, Told())

    assert _used(only) == [1]


async def test_the_only_worker_is_waited_for_by_questions_and_embeddings() -> None:
    only = _worker("w:1", can=pb.Capabilities(embedding=True))
    only.embedded = _GONE
    async with _fleet(only) as fleet:
        model = fleet.find(_name("m"), embeds)
        assert model is not None

        async def fails_once(worker: Worker) -> str:
            if only.refusal is None and not asked:
                asked.append(worker.address)
                only.refusal = _GONE
                raise _GONE
            return "answer"

        asked: list[str] = []
        asking = asyncio.create_task(fleet.ask(model, fails_once))
        embedding = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), Told()))
        await until(lambda: not fleet.has_ready_worker, _DEADLINE_SECONDS, "it is away")
        only.embedded = pb.EmbedResponse(prompt_tokens=3)
        only.refusal = None

        assert await asyncio.wait_for(asking, _DEADLINE_SECONDS) == "answer"
        assert (await asyncio.wait_for(embedding, _DEADLINE_SECONDS)).prompt_tokens == 3


def _sampling(**fields: float) -> pb.GenerateRequest:
    request = pb.GenerateRequest(raw="p")
    for name, value in fields.items():
        setattr(request.sampling, name, value)
    return request


def _json(temperature: float) -> pb.GenerateRequest:
    request = _sampling(temperature=temperature)
    request.any_json = True
    return request


def _with_image() -> pb.GenerateRequest:
    request = _sampling(temperature=1)
    request.chat.messages.add(role="user").images.add(data=b"i")
    return request


@pytest.mark.parametrize(
    ("request_", "can", "reason"),
    [
        (_json(1), _RESUMES, Stuck.CONSTRAINED),
        (_sampling(temperature=1, repeat_penalty=1.1), _RESUMES, Stuck.PENALTIES),
        (_with_image(), _RESUMES, Stuck.IMAGES),
        (_sampling(temperature=1), pb.Capabilities(completion=True), Stuck.ENGINE),
    ],
)
async def test_what_cannot_move_ends_with_the_error(
    request_: pb.GenerateRequest, can: pb.Capabilities, reason: Stuck
) -> None:
    steps = (started(), _tokens("one ", 7), _GONE)
    workers = [_worker(f"w:{number}", *steps, can=can) for number in range(2)]
    told = Told()
    async with _fleet(*workers) as fleet:
        with pytest.raises(WorkerUnreachable):
            await _ask(fleet, told, request_)

    assert told.stuck_because == [reason]
    assert sum(_used(*workers)) == 1


@pytest.mark.parametrize(
    ("again", "rest"),
    [
        ([_tokens("one tw", 7, 8), _tokens("o three", 9, 10)], "one two three"),
        ([_tokens("o", 7), _tokens("ne two", 8), _tokens(" three", 9)], "one two three"),
    ],
)
async def test_at_temperature_0_it_is_made_again_and_compared(
    again: list[pb.GenerateEvent], rest: str
) -> None:
    workers = [_worker(f"w:{number}", started(), _tokens("one two", 7, 8), _GONE) for number in range(2)]

    def next_answers() -> None:
        for worker in workers:
            worker.steps = (started(), *again, done())

    for worker in workers:
        worker.on_submit = next_answers
    told = Told()
    async with _fleet(*workers) as fleet:
        events = await _ask(fleet, told, _json(0))

    assert _text(events) == rest
    assert told.moves == [WayOn.REGENERATE]
    assert [event.HasField("started") for event in events].count(True) == 1


@pytest.mark.parametrize("other", ["one twelve", "one"])
async def test_another_answer_is_not_put_after_the_first_half(other: str) -> None:
    workers = [_worker(f"w:{number}", started(), _tokens("one two", 7, 8), _GONE) for number in range(2)]

    def next_answers() -> None:
        for worker in workers:
            worker.steps = (started(), _tokens(other, 7, 8), done())

    for worker in workers:
        worker.on_submit = next_answers
    async with _fleet(*workers) as fleet:
        with pytest.raises(DroverError):
            await _ask(fleet, Told(), _json(0))


async def test_another_functions_arguments_are_not_put_into_a_call_that_was_begun() -> None:
    workers = [_worker(f"w:{number}", started(), _call("look", "", 7), _GONE) for number in range(2)]

    def next_calls_another() -> None:
        for worker in workers:
            worker.steps = (started(), _call("count", '{"a": 1}', 7, 8), done())

    for worker in workers:
        worker.on_submit = next_calls_another
    async with _fleet(*workers) as fleet:
        with pytest.raises(EngineFailed, match="answers differently"):
            await _ask(fleet, Told(), _json(0))


def _call(name: str, arguments: str, *ids: int) -> pb.GenerateEvent:
    call = pb.ToolCallDelta(index=0, id="call", name=name, arguments_fragment=arguments)
    return pb.GenerateEvent(deltas=[pb.Delta(tool_calls=[call], token_ids=ids)])


async def test_a_worker_that_goes_silent_is_left() -> None:
    workers = [_worker(f"w:{number}", started(), _tokens("one ", 7), STALL) for number in range(2)]
    async with _fleet(*workers) as fleet:
        asking = asyncio.create_task(_ask(fleet, Told()))
        await until(lambda: sum(_used(*workers)) == 1, _DEADLINE_SECONDS, "it is asked")
        silent = next(worker for worker in workers if worker.handles)
        await asyncio.wait_for(silent.handles[0].stalled.wait(), _DEADLINE_SECONDS)
        for worker in workers:
            if worker is not silent:
                worker.steps = (started(), _tokens("two", 8), done())
        silent.refusal = _GONE
        assert _text(await asking) == "one two"


async def test_a_cancelled_request_leaves_its_place() -> None:
    worker = _worker("w:1", started(), STALL)
    async with _fleet(worker) as fleet:
        asking = asyncio.create_task(_ask(fleet, Told()))
        await until(lambda: bool(worker.handles), _DEADLINE_SECONDS, "it is asked")
        assert fleet._members[0].load == 1
        asking.cancel()
        await asyncio.wait({asking})

        assert worker.handles[0].cancelled.is_set()
        assert fleet._members[0].load == 0


async def test_a_full_worker_is_waited_for_and_a_full_queue_is_busy() -> None:
    worker = _worker("w:1", QueueFull())
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with _fleet(worker, most_waiting=0) as fleet:
        with pytest.raises(QueueFull):
            await _ask(fleet, Told())


async def test_those_who_wait_go_when_a_place_is_free() -> None:
    worker = _worker("w:1", started(), STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with _fleet(worker) as fleet:
        running = [asyncio.create_task(_ask(fleet, Told())) for _ in range(2)]
        await until(lambda: len(worker.handles) == 2, _DEADLINE_SECONDS, "one runs and one waits there")
        told = Told()
        waiting = asyncio.create_task(_ask(fleet, told))
        await until(lambda: fleet.admission.waiting == 1, _DEADLINE_SECONDS, "the third waits here")
        assert fleet.admission.find("r", "c") is not None
        worker.steps = (started(), content("hi"), done())
        running[0].cancel()

        assert _text(await waiting) == "hi"
        assert told.waits[0].position == 1
        running[1].cancel()
        await asyncio.wait(running)
        assert fleet._members[0].load == 0


async def test_who_gives_up_waiting_is_not_missed() -> None:
    worker = _worker("w:1", started(), STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with _fleet(worker) as fleet:
        tasks = [asyncio.create_task(_ask(fleet, Told())) for _ in range(4)]
        await until(lambda: fleet.admission.waiting == 2, _DEADLINE_SECONDS, "two wait here")
        for task in tasks[2:]:
            task.cancel()
        await asyncio.wait(tasks[2:])
        assert fleet.admission.waiting == 0
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert fleet._members[0].load == 0


async def test_nobody_there_is_said_at_once() -> None:
    worker = _worker("w:1", started(), done())
    async with _fleet(worker) as fleet:
        model = fleet.find(_name("m"))
        assert model is not None
        worker.refusal = _GONE
        await until(lambda: not fleet.has_ready_worker, _DEADLINE_SECONDS, "it is lost")
        with pytest.raises(NoWorkerReady):
            async for _ in events_of(fleet.submit(model, pb.GenerateRequest(), Ticket(), Told())):
                pass


async def test_embeddings_go_to_another_worker() -> None:
    can = pb.Capabilities(embedding=True)
    workers = [_worker(f"w:{number}", can=can) for number in range(2)]
    workers[0].embedded, workers[1].embedded = _GONE, pb.EmbedResponse(prompt_tokens=3)
    async with _fleet(*workers) as fleet:
        model = fleet.find(_name("m"), embeds)
        assert model is not None
        for _ in range(2):
            response = await fleet.embed(model, pb.EmbedRequest(), Ticket(), Told())
            assert response.prompt_tokens == 3
        assert [member.load for member in fleet._members] == [0, 0]
