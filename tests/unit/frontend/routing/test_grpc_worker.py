"""gRPC backend: the handle delivers events and raises failures; cancelling it reaches the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import grpc
import pytest

from drover.errors import (
    ContextExceeded,
    DroverError,
    EngineFailed,
    NoWorkerReady,
    QueueFull,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import WorkerHandle
from frontend.routing.backends.delivery import events_of
from frontend.routing.backends.grpc.worker import GrpcWorker
from tests.fakes.stalling_engine import StallingEngine, stalling_engine
from tests.fakes.stalling_worker import content, done, started

_DEADLINE_SECONDS = 30.0
_CANCEL_SECONDS = 1.0


@dataclass
class Pair:
    engine: StallingEngine
    server: grpc.aio.Server
    worker: GrpcWorker

    def submit(self) -> WorkerHandle:
        return self.worker.submit(pb.GenerateRequest(request_id="r"), "from-client")


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with stalling_engine() as (engine, server):
        worker = GrpcWorker(engine.address)
        try:
            yield Pair(engine, server, worker)
        finally:
            await worker.close()


async def _all(handle: WorkerHandle) -> list[pb.GenerateEvent]:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        return [event async for event in events_of(handle)]


async def _failure(handle: WorkerHandle) -> DroverError:
    with pytest.raises(DroverError) as failed:
        await _all(handle)
    return failed.value


async def _happens(event: asyncio.Event, seconds: float) -> None:
    await asyncio.wait_for(event.wait(), seconds)


async def test_events_arrive_in_order_and_ids_travel(pair: Pair) -> None:
    pair.engine.events = [started(), content("a"), content("b"), done()]
    pair.engine.stalls = False

    assert await _all(pair.submit()) == pair.engine.events
    assert pair.engine.requests[0].request_id == "r"
    assert pair.engine.client_request_ids == ["from-client"]
    assert not pair.engine.cancelled.is_set()


async def test_cancelling_before_the_first_event_cancels_the_handler(pair: Pair) -> None:
    handle = pair.submit()
    await _happens(pair.engine.begun, _DEADLINE_SECONDS)

    handle.cancel()

    await _happens(pair.engine.cancelled, _CANCEL_SECONDS)


async def test_cancelling_between_events_cancels_the_handler(pair: Pair) -> None:
    pair.engine.events = [started(), content("a")]
    handle = pair.submit()
    events = events_of(handle)
    async with asyncio.timeout(_DEADLINE_SECONDS):
        assert await anext(events) == started()

    handle.cancel()

    await _happens(pair.engine.cancelled, _CANCEL_SECONDS)


async def test_cancelling_a_task_that_reads_and_then_the_handle_cancels_the_handler(pair: Pair) -> None:
    handle = pair.submit()
    reading = asyncio.create_task(_all(handle))
    await _happens(pair.engine.begun, _DEADLINE_SECONDS)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    handle.cancel()

    await _happens(pair.engine.cancelled, _CANCEL_SECONDS)


async def test_cancelling_twice_or_after_the_end_is_harmless(pair: Pair) -> None:
    pair.engine.events = [done()]
    pair.engine.stalls = False
    handle = pair.submit()
    await _all(handle)

    handle.cancel()
    handle.cancel()

    assert not pair.engine.cancelled.is_set()


@pytest.mark.parametrize(
    "error", [QueueFull("full"), EngineFailed("died")], ids=["QueueFull", "EngineFailed"]
)
@pytest.mark.parametrize("events", [[], [content("a")]], ids=["before", "after"])
async def test_an_error_of_the_worker_is_raised_by_the_handle(
    pair: Pair, error: DroverError, events: list[pb.GenerateEvent]
) -> None:
    pair.engine.events, pair.engine.error = events, error

    failure = await _failure(pair.submit())

    assert type(failure) is type(error)
    assert failure.message == error.message


async def test_a_worker_that_vanishes_is_unreachable(pair: Pair) -> None:
    pair.engine.events = [content("a")]
    handle = pair.submit()
    events = events_of(handle)
    async with asyncio.timeout(_DEADLINE_SECONDS):
        await anext(events)
        await pair.server.stop(None)
        with pytest.raises(WorkerUnreachable):
            await anext(events)


async def test_an_address_without_a_server(pair: Pair) -> None:
    await pair.server.stop(None)

    assert type(await _failure(pair.submit())) is WorkerUnreachable
    with pytest.raises(WorkerUnreachable):
        await pair.worker.model(timeout_seconds=_DEADLINE_SECONDS)


async def test_an_unknown_method_raises_an_error_type_too(pair: Pair) -> None:
    with pytest.raises(DroverError):
        await pair.worker.unload()


async def test_embeddings_travel_with_their_ids(pair: Pair) -> None:
    pair.engine.stalls = False

    response = await pair.worker.embed(pb.EmbedRequest(request_id="r", texts=["a"]), "from-client")

    assert [list(each.values) for each in response.embeddings] == [[0.5]]
    assert pair.engine.embed_requests == [pb.EmbedRequest(request_id="r", texts=["a"])]
    assert pair.engine.client_request_ids == ["from-client"]


async def test_cancelling_the_caller_of_embed_cancels_the_handler(pair: Pair) -> None:
    waiting = asyncio.create_task(pair.worker.embed(pb.EmbedRequest(texts=["a"]), "from-client"))
    await _happens(pair.engine.begun, _DEADLINE_SECONDS)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    await _happens(pair.engine.cancelled, _CANCEL_SECONDS)


async def test_embed_raises_the_workers_error(pair: Pair) -> None:
    pair.engine.error = QueueFull("full")

    with pytest.raises(QueueFull, match=r"^full$"):
        await pair.worker.embed(pb.EmbedRequest(texts=["a"]), "from-client")


@pytest.mark.parametrize("error_type", [ContextExceeded, NoWorkerReady])
async def test_an_engines_message_is_not_changed(pair: Pair, error_type: type[DroverError]) -> None:
    message = '{"error": {"code": 400, "message": "zu lang, größer als 4 %", "type": "x\\n"}}'
    pair.engine.error = error_type(message)

    failure = await _failure(pair.submit())

    assert (type(failure), failure.message) == (error_type, message)


async def test_control_calls_return_responses_and_raise_errors(pair: Pair) -> None:
    assert (await pair.worker.model(_DEADLINE_SECONDS)).names == ["m:latest"]
    pair.engine.error = NoWorkerReady("loading")
    with pytest.raises(NoWorkerReady, match=r"^loading$"):
        await pair.worker.model(_DEADLINE_SECONDS)


async def test_watching_the_load_ends_with_the_watcher(pair: Pair) -> None:
    async with asyncio.timeout(_DEADLINE_SECONDS), aclosing(pair.worker.watch_load(0.25)) as reports:
        assert (await anext(reports)).running_limit == 250

    await _happens(pair.engine.cancelled, _CANCEL_SECONDS)


async def test_closing_the_worker_ends_what_it_has_open(pair: Pair) -> None:
    pair.submit()
    await _happens(pair.engine.begun, _DEADLINE_SECONDS)

    await pair.worker.close()

    await _happens(pair.engine.cancelled, _CANCEL_SECONDS)
