"""What clients are charged for the requests that they send, whatever becomes of these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from drover.errors import DroverError, InvalidRequest, QueueFull, RetryElsewhere
from drover.v1 import engine_pb2 as pb
from frontend.access.key import Key
from frontend.observability.request_record import RequestRecord
from frontend.routing.backends.delivery import events_of
from frontend.routing.fleet import Fleet
from frontend.routing.served_model import ServedModel
from frontend.routing.ticket import Account, Ticket
from frontend.routing.work import Work
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.stalling_worker import STALL, StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.routing.failover_fleet import GONE, RESUMES, resumable_worker, tokens
from tests.unit.frontend.routing.test_fleet import _name

_SECONDS = 30.0
_PROMPT = "word " * 8_000
_STARTED = pb.GenerateEvent(started=pb.Started(prompt_ids=range(1000), cached_tokens=200))
_DONE = pb.GenerateEvent(
    done=pb.Done(finish_reason=pb.Done.STOP, prompt_tokens=1000, cached_tokens=200, completion_tokens=50)
)


@asynccontextmanager
async def _running(*workers: StallingWorker) -> AsyncIterator[tuple[Fleet, ServedModel]]:
    fleet = fleet_of(*workers)
    await fleet.start()
    try:
        await until(
            lambda: sum(each.ready for each in fleet.workers()) == len(workers), _SECONDS, "all are ready"
        )
        model = fleet.find(_name("m"), lambda can: True)
        assert model is not None
        yield fleet, model
    finally:
        await fleet.stop()


def _account(fleet: Fleet, model: ServedModel, client: str = "c") -> Account:
    return fleet.queues.queue(model)._queue._accounts[0, client]


async def _ask(fleet: Fleet, model: ServedModel) -> None:
    request = pb.GenerateRequest(raw=_PROMPT, sampling=pb.Sampling(max_tokens=100))
    handle = fleet.submit(model, request, Ticket("c", "r"), ObservedFailovers())
    async for _ in events_of(handle):
        pass


async def test_a_request_is_charged_an_estimate_and_then_what_its_worker_reports() -> None:
    worker = resumable_worker("w:1", STALL)
    async with _running(worker) as (fleet, model):
        task = asyncio.create_task(_ask(fleet, model))
        await until(lambda: bool(worker.handles), _SECONDS, "it is sent")
        account = _account(fleet, model)
        assert (account.served, account.in_flight) == (10_000 + 2 * 100, 1)
        task.cancel()
        await asyncio.wait({task})

        worker.steps = (_STARTED, tokens("a", 1), _DONE)
        before = account.served
        await _ask(fleet, model)
        assert account.served - before == Work(1000, 200, 50).cost
        assert account.in_flight == 0


@pytest.mark.parametrize(
    ("steps", "cost"),
    [
        # During the prefill, of which the engine may have done most.
        ((STALL,), 10_000),
        ((_STARTED, STALL), 800),
        ((_STARTED, tokens("a", 1, 2, 3), STALL), 800 + 2 * 3),
    ],
)
async def test_a_client_that_leaves_is_charged_what_was_done(steps: tuple[object, ...], cost: float) -> None:
    worker = resumable_worker("w:1", *steps)  # type: ignore[arg-type]
    async with _running(worker) as (fleet, model):
        task = asyncio.create_task(_ask(fleet, model))
        await until(
            lambda: bool(worker.handles) and worker.handles[0].stalled.is_set(), _SECONDS, "it stalls"
        )
        task.cancel()
        await asyncio.wait({task})

        account = _account(fleet, model)
        assert (account.served, account.in_flight) == (cost, 0)


async def test_a_request_that_fails_over_is_charged_once() -> None:
    first = resumable_worker("w:1", _STARTED, tokens("a", 1), GONE)
    second = resumable_worker("w:2", tokens("b", 2), _DONE)
    async with _running(first, second) as (fleet, model):
        await _ask(fleet, model)

        account = _account(fleet, model)
        assert (account.served, account.in_flight) == (Work(1000, 200, 50).cost, 0)


async def test_a_request_that_a_full_worker_refuses_is_charged_once() -> None:
    worker = resumable_worker("w:1", QueueFull())
    async with _running(worker) as (fleet, model):
        task = asyncio.create_task(_ask(fleet, model))
        await until(lambda: len(worker.handles) > 1, _SECONDS, "it is tried again")
        worker.steps = (_STARTED, _DONE)
        await task

        assert _account(fleet, model).served == Work(1000, 200, 50).cost


@pytest.mark.parametrize("error", [InvalidRequest("no"), GONE])
async def test_a_request_that_fails_before_it_begins_costs_next_to_nothing(error: DroverError) -> None:
    assert isinstance(error, InvalidRequest | RetryElsewhere)
    async with _running(resumable_worker("w:1", error)) as (fleet, model):
        with pytest.raises(DroverError):
            await _ask(fleet, model)

        account = _account(fleet, model)
        assert (account.served, account.in_flight) == (1, 0)


async def test_each_choice_of_a_request_is_charged() -> None:
    """Choices are requests of their own; a worker that shares their prompt reports it as cached."""
    worker = resumable_worker("w:1", _STARTED, _DONE)
    async with _running(worker) as (fleet, model):
        await asyncio.gather(*(_ask(fleet, model) for _ in range(3)))

        assert _account(fleet, model).served == 3 * Work(1000, 200, 50).cost


async def test_embeddings_scores_rerank_and_classify_are_charged_their_prompts() -> None:
    can = pb.Capabilities(completion=True, embedding=True, rerank=True, classify=True)
    worker = StallingWorker(
        "w:1",
        described=pb.Model(names=["m"], digest="d", capabilities=can),
        embedded=pb.EmbedResponse(embeddings=[pb.Embedding(values=[1])], prompt_tokens=700),
        scored=pb.ScoreResponse(
            results=[pb.ScoreResult(logprobs=[-1], label_ids=[1])], prompt_tokens=600, cached_tokens=100
        ),
        reranked=pb.RerankResponse(scores=[1], prompt_tokens=400),
        classified=pb.ClassifyResponse(
            classifications=[pb.Classification(probabilities=[1])], labels=["a"], prompt_tokens=300
        ),
    )
    async with _running(worker) as (fleet, model):
        sink = ObservedFailovers()
        await fleet.embed(model, pb.EmbedRequest(texts=["x"]), Ticket("c"), sink)
        assert _account(fleet, model).served == 700
        item = pb.ScoreItem(raw="x", label_ids=[1])
        await fleet.score(model, pb.ScoreRequest(items=[item]), Ticket("c"), sink)
        assert _account(fleet, model).served == 1200
        await fleet.rerank(model, pb.RerankRequest(queries=["q"], documents=["a"]), Ticket("c"), sink)
        assert _account(fleet, model).served == 1600
        classify = pb.ClassifyRequest(inputs=[pb.ClassifyInput(text="x")])
        await fleet.classify(model, classify, Ticket("c"), sink)
        assert _account(fleet, model).served == 1900

        worker.embedded = InvalidRequest("no")
        with pytest.raises(InvalidRequest):
            await fleet.embed(model, pb.EmbedRequest(texts=[_PROMPT]), Ticket("c"), sink)
        account = _account(fleet, model)
        assert (account.served, account.in_flight) == (1901, 0)


async def test_a_client_that_leaves_a_call_is_charged_its_prompts() -> None:
    worker = StallingWorker(
        "w:1", described=pb.Model(names=["m"], digest="d", capabilities=pb.Capabilities(embedding=True))
    )
    async with _running(worker) as (fleet, model):
        embedding = fleet.embed(model, pb.EmbedRequest(texts=[_PROMPT]), Ticket("c"), ObservedFailovers())
        task = asyncio.ensure_future(embedding)
        await until(lambda: bool(worker.embeddings), _SECONDS, "it is sent")
        task.cancel()
        await asyncio.wait({task})

        account = _account(fleet, model)
        assert (account.served, account.in_flight) == (10_000, 0)


async def test_a_weight_divides_what_is_charged() -> None:
    worker = resumable_worker("w:1", _STARTED, _DONE, can=RESUMES)
    async with _running(worker) as (fleet, model):
        handle = fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket("c", weight=4), ObservedFailovers())
        async for _ in events_of(handle):
            pass

        assert _account(fleet, model).served == Work(1000, 200, 50).cost / 4


def test_the_weight_of_a_request_is_that_of_its_key() -> None:
    key = Key("k1", "alice", weight=3.0)
    for record, weight in (
        (RequestRecord("r", lambda message: asyncio.sleep(0), key=key), 3.0),
        (RequestRecord("r", lambda message: asyncio.sleep(0)), 1.0),
    ):
        assert record.ticket.weight == weight


async def test_a_request_that_gives_up_in_the_queue_is_not_charged() -> None:
    worker = resumable_worker("w:1", STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with _running(worker) as (fleet, model):
        tasks = [asyncio.create_task(_ask(fleet, model)) for _ in range(3)]
        await until(lambda: fleet.queues.waiting == 1, _SECONDS, "one waits")
        charged = _account(fleet, model).served
        tasks[2].cancel()
        await asyncio.wait({tasks[2]})

        assert _account(fleet, model).served == charged
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
