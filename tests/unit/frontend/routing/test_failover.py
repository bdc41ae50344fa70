"""Failover: what the client sees, and when the request fails after all."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import (
    DroverError,
    EngineFailed,
    InvalidRequest,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Worker
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import can_embed
from frontend.routing.resume_strategy import ResumeStrategy
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


async def test_before_the_first_token_the_request_is_retried() -> None:
    workers = [resumable_worker(f"w:{number}", GONE) for number in range(2)]
    workers[0].on_submit = lambda: _now_answers(workers[1])
    workers[1].on_submit = lambda: _now_answers(workers[0])
    observer = ObservedFailovers()
    async with failover_fleet(*workers) as fleet:
        events = await collect(fleet, observer)

    assert text_of(events) == "hi"
    assert used(*workers) == [1, 1]
    assert (len(observer.retries), observer.failovers) == (1, [])
    sent = [worker.handles[0].request for worker in workers]
    assert not any(request.HasField("continuation") for request in sent)


def _now_answers(worker: StallingWorker) -> None:
    worker.steps = (started(), content("hi"), done())


async def test_started_is_delivered_once() -> None:
    workers = [resumable_worker(f"w:{number}", started(), GONE) for number in range(2)]
    for one, other in (workers, workers[::-1]):
        one.on_submit = lambda other=other: _now_answers(other)
    async with failover_fleet(*workers) as fleet:
        events = await collect(fleet, ObservedFailovers())

    assert [event.HasField("started") for event in events].count(True) == 1


async def test_after_the_first_token_the_response_is_continued() -> None:
    workers = [
        resumable_worker(f"w:{n}", started(), tokens("one ", 7, 8), tokens("two ", 9), GONE) for n in range(2)
    ]
    for one, other in (workers, workers[::-1]):
        one.on_submit = lambda other=other: _now_ends(other)
    observer = ObservedFailovers()
    async with failover_fleet(*workers) as fleet:
        events = await collect(fleet, observer)

    assert text_of(events) == "one two three"
    assert observer.failovers == [ResumeStrategy.CONTINUE]
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
    worker.steps = (started(), tokens("three", 10), done())


async def test_attempts_have_ids_of_their_own() -> None:
    workers = [resumable_worker(f"w:{number}", GONE) for number in range(3)]
    seen: list[str] = []
    async with failover_fleet(*workers) as fleet:
        for worker in workers:
            worker.on_submit = lambda worker=worker: seen.append(worker.handles[-1].request.request_id)
        with pytest.raises(WorkerUnreachable):
            await collect(fleet, ObservedFailovers())

    assert len(seen) == len(set(seen)) >= 3


async def test_a_request_that_breaks_engines_does_not_go_through_all_of_them() -> None:
    workers = [resumable_worker(f"w:{number}", EngineFailed("out of memory")) for number in range(5)]
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(EngineFailed, match="out of memory"):
            await collect(fleet, ObservedFailovers())

    assert sum(used(*workers)) == 2


async def test_retries_after_engine_failures_are_limited_by_a_budget() -> None:
    workers = [resumable_worker(f"w:{number}", EngineFailed("out of memory")) for number in range(2)]
    async with failover_fleet(*workers) as fleet:
        answers = await asyncio.gather(
            *(collect(fleet, ObservedFailovers()) for _ in range(100)), return_exceptions=True
        )

    assert all(isinstance(answer, EngineFailed) for answer in answers)
    # Twenty at once and a fifth of the hundred.
    assert 120 <= sum(used(*workers)) <= 140


async def test_an_invalid_request_is_tried_once() -> None:
    workers = [resumable_worker(f"w:{number}", InvalidRequest("bad")) for number in range(3)]
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(InvalidRequest):
            await collect(fleet, ObservedFailovers())

    assert sum(used(*workers)) == 1


@pytest.mark.parametrize("before", [[], [started(), tokens("one ", 7)]], ids=["no token", "mid-answer"])
@pytest.mark.parametrize("gone", [GONE, WorkerDraining("bye"), EngineFailed("it broke")])
async def test_the_only_worker_is_waited_for(before: list[pb.GenerateEvent], gone: DroverError) -> None:
    only = resumable_worker("w:1", *before, gone)
    only.on_submit = lambda: _leaves(only)
    async with failover_fleet(only) as fleet:
        asking = asyncio.create_task(collect(fleet, ObservedFailovers()))
        await until(lambda: not fleet.has_ready_worker, DEADLINE_SECONDS, "it is away")
        only.on_submit = None
        only.steps = (started(), tokens("two", 8), done())
        only.refusal = None

        assert text_of(await asking) == ("one two" if before else "two")
    assert used(only) == [2]


def _leaves(worker: StallingWorker) -> None:
    worker.refusal = GONE


async def test_the_wait_for_the_only_worker_is_limited() -> None:
    only = resumable_worker("w:1", started(), tokens("one ", 7), WorkerDraining("drain timeout reached"))
    only.on_submit = lambda: _leaves(only)
    async with failover_fleet(only) as fleet:
        with pytest.raises(WorkerDraining):
            await collect(fleet, ObservedFailovers())

    assert used(only) == [1]


async def test_calls_and_embeddings_wait_for_the_only_worker() -> None:
    only = resumable_worker("w:1", can=pb.Capabilities(embedding=True))
    only.embedded = GONE
    async with failover_fleet(only) as fleet:
        model = fleet.find(_name("m"), can_embed)
        assert model is not None

        async def fails_once(worker: Worker) -> str:
            if only.refusal is None and not asked:
                asked.append(worker.address)
                only.refusal = GONE
                raise GONE
            return "answer"

        asked: list[str] = []
        asking = asyncio.create_task(fleet.call(model, fails_once))
        embedding = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), ObservedFailovers()))
        await until(lambda: not fleet.has_ready_worker, DEADLINE_SECONDS, "it is away")
        only.embedded = pb.EmbedResponse(prompt_tokens=3)
        only.refusal = None

        assert await asyncio.wait_for(asking, DEADLINE_SECONDS) == "answer"
        assert (await asyncio.wait_for(embedding, DEADLINE_SECONDS)).prompt_tokens == 3


async def test_requests_of_a_silent_worker_fail_over() -> None:
    workers = [resumable_worker(f"w:{number}", started(), tokens("one ", 7), STALL) for number in range(2)]
    async with failover_fleet(*workers) as fleet:
        asking = asyncio.create_task(collect(fleet, ObservedFailovers()))
        await until(lambda: sum(used(*workers)) == 1, DEADLINE_SECONDS, "it is asked")
        silent = next(worker for worker in workers if worker.handles)
        await asyncio.wait_for(silent.handles[0].stalled.wait(), DEADLINE_SECONDS)
        for worker in workers:
            if worker is not silent:
                worker.steps = (started(), tokens("two", 8), done())
        silent.refusal = GONE
        assert text_of(await asking) == "one two"


async def test_embeddings_are_retried_at_another_worker() -> None:
    can = pb.Capabilities(embedding=True)
    workers = [resumable_worker(f"w:{number}", can=can) for number in range(2)]
    workers[0].embedded, workers[1].embedded = GONE, pb.EmbedResponse(prompt_tokens=3)
    async with failover_fleet(*workers) as fleet:
        model = fleet.find(_name("m"), can_embed)
        assert model is not None
        for _ in range(2):
            response = await fleet.embed(model, pb.EmbedRequest(), Ticket(), ObservedFailovers())
            assert response.prompt_tokens == 3
        assert [member.load for member in fleet._workers] == [0, 0]


async def test_a_continuation_has_the_extensions_of_the_first_attempt() -> None:
    workers = [resumable_worker(f"w:{number}", started(), tokens("He", 5), GONE) for number in range(2)]
    workers[0].on_submit = lambda: _now_answers(workers[1])
    workers[1].on_submit = lambda: _now_answers(workers[0])
    request = pb.GenerateRequest(
        sampling=pb.Sampling(min_tokens=9, stop_token_ids=[7], include_stop=True, show_special_tokens=True),
        template_arguments_json='{"a":1}',
        cache_salt="salt",
        routing_key="key",
    )
    request.chat.messages.add(role="assistant", content="Once")
    request.chat.continue_last = True
    async with failover_fleet(*workers) as fleet:
        await collect(fleet, ObservedFailovers(), request)
    sent = [worker.handles[0].request for worker in workers]
    first, resumed = sorted(sent, key=lambda each: each.HasField("continuation"))

    assert list(resumed.continuation.produced_ids) == [5]
    for name in ("sampling", "template_arguments_json", "cache_salt", "routing_key", "chat"):
        assert getattr(resumed, name) == getattr(first, name) == getattr(request, name)
