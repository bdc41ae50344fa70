"""Fleets of two workers over gRPC: requests of a broken stream fail over, and each response is complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest

from drover.concurrency import ChangeSignal
from drover.rpc import SERVER_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine
from engine_worker.model_lifecycle import ModelLifecycle
from engine_worker.requests import RequestTable
from engine_worker.service import EngineService
from frontend.routing.backends.base import RequestHandle
from frontend.routing.backends.grpc.worker import GrpcWorker
from frontend.routing.discovery.static import Static
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.round_robin import RoundRobin
from tests.fakes.fleets import ObservedFailovers
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_SECONDS = 30.0
_REQUESTS = 8
_TOKENS = 60
_SHAPE = SimulatorConfig(prefill_tokens_per_second=1e6, decode_step_base_ms=5, decode_step_per_running_ms=0)


class OlderService(EngineService):
    """Of a version without the call."""

    async def GetModel(self, request: pb.GetModelRequest, context: object) -> pb.Model:
        model = await super().GetModel(request, context)  # type: ignore[arg-type]  # only the stub knows the context's type
        model.exchange = False
        return model

    async def Exchange(self, request_iterator: object, context: object) -> None:  # type: ignore[override]  # it only fails
        raise AssertionError("its model does not name it")


@dataclass
class Served:
    server: grpc.aio.Server
    service: EngineService
    requests: RequestTable
    address: str

    @property
    def exchanges(self) -> int:
        return len(self.service._exchanges)


@asynccontextmanager
async def _serving(kind: type[EngineService]) -> AsyncIterator[Served]:
    engine = SimulatorEngine(["m"], _SHAPE)
    await engine.start()
    requests, changed = RequestTable(), ChangeSignal()
    lifecycle = ModelLifecycle(engine, -1, 0, changed)
    lifecycle.start(pinned=True, waiting_limit=64)
    service = kind(engine, requests, lifecycle, changed)
    service.ready = True
    server = grpc.aio.server(options=SERVER_OPTIONS)
    engine_pb2_grpc.add_EngineServicer_to_server(service, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield Served(server, service, requests, address)
    finally:
        service.close()
        await server.stop(0)
        await engine.stop()


@asynccontextmanager
async def _fleet(*kinds: type[EngineService]) -> AsyncIterator[tuple[Fleet, list[Served]]]:
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(_serving(kind)) for kind in kinds]
        addresses = [each.address for each in served]
        fleet = Fleet([Static(addresses)], GrpcWorker, RoundRobin(), QueueTable(64, 10.0))
        await fleet.start()
        stack.push_async_callback(fleet.stop)
        await until(
            lambda: sum(each.ready for each in fleet.workers()) == len(kinds), _SECONDS, "all are ready"
        )
        yield fleet, served


class Answer:
    def __init__(self, handle: RequestHandle) -> None:
        self.text = ""
        self.done: pb.Done | None = None
        self.ids: list[int] = []
        self.task = asyncio.create_task(handle.deliver(self._receive))

    def _receive(self, event: pb.GenerateEvent) -> None:
        for delta in event.deltas:
            self.text += delta.content
            self.ids += delta.token_ids
        if event.HasField("done"):
            self.done = pb.Done()
            self.done.CopyFrom(event.done)


def _asked(fleet: Fleet, observer: ObservedFailovers) -> list[Answer]:
    model = fleet.find(_name("m"))
    assert model is not None
    answers = []
    for number in range(_REQUESTS):
        request = pb.GenerateRequest(raw=f"story {number}", sampling=pb.Sampling(ignore_eos=True))
        request.sampling.max_tokens = _TOKENS
        answers.append(Answer(fleet.submit(model, request, Ticket("c", str(number)), observer)))
    return answers


async def _over(answers: list[Answer]) -> list[str]:
    await asyncio.wait_for(asyncio.gather(*(answer.task for answer in answers)), _SECONDS)
    for answer in answers:
        assert answer.done is not None
        assert answer.done.completion_tokens == len(answer.ids) == _TOKENS
    return [answer.text for answer in answers]


async def _undisturbed() -> list[str]:
    async with _fleet(EngineService) as (fleet, _):
        return await _over(_asked(fleet, ObservedFailovers()))


@pytest.mark.parametrize("survivor", [EngineService, OlderService], ids=["new", "older"])
async def test_a_worker_lost_in_mid_stream(survivor: type[EngineService]) -> None:
    expected = await _undisturbed()
    observer = ObservedFailovers()
    async with _fleet(EngineService, survivor) as (fleet, (lost, other)):
        answers = _asked(fleet, observer)
        await until(lambda: all(len(answer.ids) > 5 for answer in answers), _SECONDS, "all are under way")
        assert len(lost.requests) == len(other.requests) == _REQUESTS // 2
        assert lost.exchanges == 1
        await lost.server.stop(0)
        assert await _over(answers) == expected
        assert len(observer.failovers) == _REQUESTS // 2
        assert await lost.requests.wait_empty(_SECONDS)


async def test_streams_that_break_while_their_workers_live() -> None:
    expected = await _undisturbed()
    observer = ObservedFailovers()
    async with _fleet(EngineService, EngineService) as (fleet, workers):
        answers = _asked(fleet, observer)
        await until(lambda: all(len(answer.ids) > 5 for answer in answers), _SECONDS, "all are under way")
        for worker in workers:
            for exchange in worker.service._exchanges:
                exchange.close()
        assert await _over(answers) == expected
        # One may move onto the other stream just before that ends too.
        assert len(observer.failovers) >= _REQUESTS
        for worker in workers:
            assert await worker.requests.wait_empty(_SECONDS)


async def test_a_fleet_of_both_versions_gives_the_same_answers() -> None:
    expected = await _undisturbed()
    async with _fleet(OlderService, EngineService) as (fleet, (older, newer)):
        answers = _asked(fleet, ObservedFailovers())
        await until(lambda: all(answer.ids for answer in answers), _SECONDS, "all are under way")
        assert (older.exchanges, newer.exchanges) == (0, 1)
        assert len(older.requests) == len(newer.requests) == _REQUESTS // 2
        assert await _over(answers) == expected


async def test_clients_that_leave_free_every_slot() -> None:
    async with _fleet(EngineService) as (fleet, (worker,)):
        answers = _asked(fleet, ObservedFailovers())
        await until(lambda: all(answer.ids for answer in answers), _SECONDS, "all are under way")
        for answer in answers:
            answer.task.cancel()
        await asyncio.wait([answer.task for answer in answers])
        assert await worker.requests.wait_empty(_SECONDS)
        assert worker.exchanges == 1
