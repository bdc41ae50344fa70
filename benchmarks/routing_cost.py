"""What finding a worker for a request costs: in process, over fakes that answer at once."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks.answers import proto_request, question
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.admission.admission import Admission
from frontend.admission.queue import Ticket
from frontend.fleet.delivery import events_of
from frontend.fleet.discovery.static import Static
from frontend.fleet.fleet import Fleet
from frontend.fleet.picking.prefix import Prefix
from tests.fakes.fleets import Told
from tests.fakes.stalling_worker import StallingWorker, done, started
from tests.support.waiting import until

_ROUNDS = 7
_REQUESTS = 100
_WARM_UP = 20
_READY_SECONDS = 20.0


async def measure_routing(count: int) -> float:
    """Microseconds of CPU from a model's name to the end of a fake's answer: finding the model, its affinity,
    the gate, the choice. The median of some rounds.
    """
    report = pb.LoadReport(running_limit=256, frontends=1)
    workers = {
        f"10.0.{number // 250}.{number % 250}:50051": StallingWorker(
            f"10.0.{number // 250}.{number % 250}:50051", steps=(started(), done()), report=report
        )
        for number in range(count)
    }
    fleet = Fleet([Static(list(workers))], workers.__getitem__, Prefix(), Admission(512, 1.0))
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == count, _READY_SECONDS, f"{count} workers are ready")
        await _route(fleet, _WARM_UP)
        return median([await _route(fleet, _REQUESTS) for _ in range(_ROUNDS)])
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(each.ready for each in fleet.workers())


async def _route(fleet: Fleet, requests: int) -> float:
    name = ModelName.parse("m")
    assert name is not None
    asked = [proto_request(question(), 8) for _ in range(requests)]
    await asyncio.sleep(0)  # What watchers have to do is done before.
    began = time.process_time()
    for request in asked:
        model = fleet.find(name)
        assert model is not None
        handle = fleet.submit(model, request, Ticket(), Told())
        async for _ in events_of(handle):
            pass
        handle.cancel()
    return 1e6 * (time.process_time() - began) / requests
