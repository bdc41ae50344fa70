"""Unary calls: stalls under them, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from google.protobuf.message import Message

from drover.errors import EngineStalled, WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from frontend.routing import managed_worker
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet, can_embed
from frontend.routing.served_model import ServedModel
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_DEADLINE_SECONDS = 30.0
_TEXT = pb.TokenizeRequest(text="x")


@pytest.fixture(autouse=True)
def soon_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_worker, "_SILENCE_SECONDS", 0.3)


def _workers(number: int) -> list[StallingWorker]:
    model = pb.Model(names=["m"], digest="d", capabilities=pb.Capabilities(embedding=True))
    return [StallingWorker(f"w:{each}", described=model) for each in range(number)]


@asynccontextmanager
async def _fleet(workers: Sequence[StallingWorker]) -> AsyncIterator[tuple[Fleet, ServedModel]]:
    fleet = fleet_of(*workers, wait_seconds=0.3)
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == len(workers), _DEADLINE_SECONDS, "all are ready")
        model = fleet.find(_name("m"), can_embed)
        assert model is not None
        yield fleet, model
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(worker.ready for worker in fleet.workers())


class Asked:
    """Questions that stop their workers, or that only wait."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def stops(self, worker: object) -> None:
        assert isinstance(worker, StallingWorker)
        worker.is_silent = True
        await self.waits(worker)

    async def waits(self, worker: object) -> None:
        assert isinstance(worker, StallingWorker)
        self.addresses.append(worker.address)
        await asyncio.Event().wait()


async def test_an_embedding_that_stalled_a_worker_alone_is_not_retried() -> None:
    workers = _workers(3)
    async with _fleet(workers) as (fleet, model):
        embedding = asyncio.create_task(
            fleet.embed(model, pb.EmbedRequest(texts=["x"], keep_alive_ns=5), Ticket(), ObservedFailovers())
        )
        await until(lambda: any(worker.embeddings for worker in workers), _DEADLINE_SECONDS, "it is sent")
        (stopped,) = [worker for worker in workers if worker.embeddings]
        stopped.is_silent = True
        with pytest.raises(EngineStalled, match="may be the cause"):
            await asyncio.wait_for(embedding, _DEADLINE_SECONDS)

        with pytest.raises(EngineStalled, match="same request"):
            await fleet.embed(model, pb.EmbedRequest(texts=["x"]), Ticket(), ObservedFailovers())
        assert sum(len(worker.embeddings) for worker in workers) == 1
        for worker in workers:
            worker.embedded = pb.EmbedResponse(embeddings=[pb.Embedding(values=[1.0])])
        await fleet.embed(model, pb.EmbedRequest(texts=["another"]), Ticket(), ObservedFailovers())


@pytest.mark.parametrize(
    "asked",
    [
        [_TEXT],
        [_TEXT, pb.TokenizeRequest(text="y")],
        [pb.DetokenizeRequest(ids=[1])],
        [pb.GenerateRequest(raw="x", request_id="1")],
    ],
    ids=["text", "texts", "ids", "rendered"],
)
async def test_a_call_that_stalled_a_worker_alone_is_not_retried(asked: Sequence[Message]) -> None:
    async with _fleet(_workers(3)) as (fleet, model):
        question = Asked()
        with pytest.raises(EngineStalled, match="may be the cause"):
            await asyncio.wait_for(fleet.call(model, question.stops, asked), _DEADLINE_SECONDS)
        with pytest.raises(EngineStalled, match="same request"):
            await asyncio.wait_for(fleet.call(model, question.stops, asked), _DEADLINE_SECONDS)
        assert len(question.addresses) == 1

        async def answers(worker: object) -> str:
            return "answered"

        assert await fleet.call(model, answers, [pb.TokenizeRequest(text="another")]) == "answered"


async def test_of_two_calls_none_is_the_only_suspect() -> None:
    async with _fleet(_workers(1)) as (fleet, model):
        question = Asked()
        first = asyncio.create_task(fleet.call(model, question.waits, [_TEXT]))
        await until(lambda: bool(question.addresses), _DEADLINE_SECONDS, "one is there")
        with pytest.raises(EngineStalled, match="may be the cause"):
            await fleet.call(model, question.stops, [pb.TokenizeRequest(text="y")])
        with pytest.raises(EngineStalled, match="may be the cause"):
            await first

        fleet._stalled.check(_TEXT)
        fleet._stalled.check(pb.TokenizeRequest(text="y"))


async def test_an_embedding_next_to_a_call_is_not_the_only_suspect() -> None:
    (worker,) = workers = _workers(1)
    async with _fleet(workers) as (fleet, model):
        request = pb.EmbedRequest(texts=["x"])
        embedding = asyncio.create_task(fleet.embed(model, request, Ticket(), ObservedFailovers()))
        await until(lambda: bool(worker.embeddings), _DEADLINE_SECONDS, "it is sent")
        with pytest.raises(EngineStalled):
            await fleet.call(model, Asked().stops, [_TEXT])
        with pytest.raises(EngineStalled):
            await embedding

        fleet._stalled.check(request)
        fleet._stalled.check(_TEXT)


@pytest.mark.parametrize("is_connected", [True, False], ids=["stopped", "unreachable"])
async def test_a_load_ends_with_its_worker(is_connected: bool) -> None:
    (worker,) = workers = _workers(1)
    worker.load_stall, worker.report = asyncio.Event(), pb.LoadReport(loaded=False)
    async with _fleet(workers) as (fleet, model):
        loading = asyncio.create_task(fleet.load(model, pb.LoadRequest()))
        await until(lambda: bool(worker.loads), _DEADLINE_SECONDS, "it loads")
        worker.is_connected, worker.is_silent = is_connected, True

        with pytest.raises(WorkerUnreachable, match="no report"):
            await asyncio.wait_for(loading, _DEADLINE_SECONDS)
        assert worker.load_cancelled.is_set()
        worker.is_silent = False
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is back")
        assert fleet.loaded() == []


async def test_a_load_on_one_replica_is_enough_if_another_is_lost() -> None:
    one, two = workers = _workers(2)
    one.load_stall = asyncio.Event()
    async with _fleet(workers) as (fleet, model):
        loading = asyncio.create_task(fleet.load(model, pb.LoadRequest()))
        await until(lambda: bool(one.loads and two.loads), _DEADLINE_SECONDS, "both load")
        one.is_silent = True

        await asyncio.wait_for(loading, _DEADLINE_SECONDS)


async def test_a_cancelled_load_leaves_nothing_behind() -> None:
    (worker,) = workers = _workers(1)
    worker.load_stall, worker.report = asyncio.Event(), pb.LoadReport(loaded=False)
    async with _fleet(workers) as (fleet, model):
        loading = asyncio.create_task(fleet.load(model, pb.LoadRequest()))
        await until(lambda: bool(worker.loads), _DEADLINE_SECONDS, "it loads")
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

        assert worker.load_cancelled.is_set()
        assert fleet.loaded() == []
        worker.load_stall, worker.loaded = None, pb.LoadResponse(expires_unix_ns=9)
        await fleet.load(model, pb.LoadRequest())
        assert [loaded.expires_unix_ns for loaded in fleet.loaded()] == [9]
