"""Cost of selecting a worker for a request: in process, over fakes that respond at once.

Fleets of all sizes are there together and take turns, so that what else happens meets all of them. What the
workers' reports cost grows with the workers and not with the requests: it is measured apart.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.answers import proto_request, question
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.discovery.static import Static
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies import PolicyName, policy_of
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import StallingWorker, done, started
from tests.support.waiting import until

_ROUNDS = 15
_REQUESTS = 100
_WARM_UP = 50
_READY_SECONDS = 20.0
_REPORT_SECONDS = 0.1
_MEASURED_SECONDS = 2.0
# Long enough for an affinity key (frontend/routing/policies/affinity.py).
_PROMPT = " and the one before it" * 30


@dataclass
class _Reporting(StallingWorker):
    """Reports its load at an interval, by default a worker's. `reports`: the number of reports so far."""

    seconds_between: float | None = None
    reports: int = 0

    async def watch_load(self, interval_seconds: float) -> AsyncGenerator[pb.LoadReport, None]:
        while True:
            yield self.report
            self.reports += 1
            # A new load each time, so that nothing that depends on it is cached.
            self.report.running = self.reports % 3
            await asyncio.sleep(self.seconds_between or interval_seconds)


async def measure_routing(policy: PolicyName, counts: Sequence[int]) -> Mapping[int, float]:
    """By the number of workers, microseconds of CPU from a model's name to the end of a fake's answer: the
    model, its affinity, the gate, the choice. The medians of rounds.
    """
    async with AsyncExitStack() as owned:
        fleets = {
            count: await owned.enter_async_context(_running(policy, _workers(count))) for count in counts
        }
        for fleet in fleets.values():
            await _route(fleet, _WARM_UP)
        rounds = [
            {count: await _route(fleet, _REQUESTS) for count, fleet in fleets.items()} for _ in range(_ROUNDS)
        ]
    return {count: median(each[count] for each in rounds) for count in counts}


async def measure_report(policy: PolicyName, count: int) -> float:
    """CPU microseconds per report, with this many workers and no requests."""
    workers = _workers(count, _REPORT_SECONDS)
    async with _running(policy, workers) as fleet:
        await _route(fleet, _WARM_UP)
        reports, began = sum(each.reports for each in workers), time.process_time()
        await asyncio.sleep(_MEASURED_SECONDS)
        used = time.process_time() - began
        return 1e6 * used / (sum(each.reports for each in workers) - reports)


def _workers(count: int, seconds_between: float | None = None) -> Sequence[_Reporting]:
    return [
        _Reporting(
            f"10.0.{number // 250}.{number % 250}:50051",
            steps=(started(), done()),
            report=pb.LoadReport(running_limit=256, frontends=1),
            seconds_between=seconds_between,
        )
        for number in range(count)
    ]


@asynccontextmanager
async def _running(policy: PolicyName, workers: Sequence[_Reporting]) -> AsyncGenerator[Fleet, None]:
    by_address = {worker.address: worker for worker in workers}
    fleet = Fleet([Static(list(by_address))], by_address.__getitem__, policy_of(policy), QueueTable(512, 1.0))
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == len(workers), _READY_SECONDS, "all workers are ready")
        yield fleet
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(each.ready for each in fleet.workers())


async def _route(fleet: Fleet, requests: int) -> float:
    name = ModelName.parse("m")
    assert name is not None
    asked = [proto_request(question() + _PROMPT, 8) for _ in range(requests)]
    await asyncio.sleep(0)  # What watchers have to do is done before.
    began = time.process_time()
    for request in asked:
        model = fleet.find(name)
        assert model is not None
        handle = fleet.submit(model, request, Ticket(), ObservedFailovers())
        async for _ in events_of(handle):
            pass
        handle.cancel()
    return 1e6 * (time.process_time() - began) / requests
