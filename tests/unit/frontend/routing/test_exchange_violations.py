"""Workers that flood a shared stream, or break its protocol: they are cut off, the log says so, and their
requests go on elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc
import pytest

from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.backends.grpc.worker import GrpcWorker
from frontend.routing.discovery.static import Static
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.round_robin import RoundRobin
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.raw_engine import RawEngine, serving
from tests.fakes.stalling_worker import content, done, started
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_SECONDS = 30.0
_MIB = 1024 * 1024
_POLL_SECONDS = 0.01
# A flood is over when nothing was sent for so many polls.
_STILL_POLLS = 50

# Steps about the requests with these numbers.
Rows = Callable[[list[int]], Iterable[bytes]]


def _step(*rows: pb.Row) -> bytes:
    return pb.Step(rows=rows).SerializeToString()


def _row(number: int, *events: pb.GenerateEvent) -> list[pb.Row]:
    return [pb.Row(number=number, event=event) for event in events]


CORRECT = (started(), content("hi"), done())


def correct(numbers: list[int]) -> Iterable[bytes]:
    for number in numbers:
        yield _step(*_row(number, *CORRECT))


@dataclass
class RawExchange(RawEngine):
    """`rows`: what it sends for each message of orders."""

    rows: Rows = correct
    model: pb.Model = field(
        default_factory=lambda: pb.Model(
            names=["m"],
            digest="d",
            context_length=1024,
            exchange=True,
            capabilities=pb.Capabilities(completion=True, resume=True),
        )
    )
    numbers: list[int] = field(default_factory=list)

    async def exchange(self, _: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        with suppress(grpc.aio.InternalError):
            while isinstance(message := await context.read(), bytes):
                numbers = [each.number for each in pb.Orders.FromString(message).submissions]
                self.requests += len(numbers)
                for step in self.rows(numbers) if numbers else ():
                    await context.write(step)
                    self.sent += len(step)


def _scripted(rows: Rows = correct) -> RawExchange:
    return RawExchange(messages=lambda: (event.SerializeToString() for event in CORRECT), rows=rows)


@asynccontextmanager
async def _fleet(*engines: RawExchange) -> AsyncIterator[Fleet]:
    fleet = Fleet(
        [Static([engine.address for engine in engines])], GrpcWorker, RoundRobin(), QueueTable(256, 1.0)
    )
    await fleet.start()
    try:
        await until(
            lambda: sum(each.ready for each in fleet.workers()) == len(engines), _SECONDS, "all are ready"
        )
        yield fleet
    finally:
        await fleet.stop()


async def _ask(fleet: Fleet) -> str:
    model = fleet.find(_name("m"))
    assert model is not None
    async with asyncio.timeout(_SECONDS):
        handle = fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket("c", "r"), ObservedFailovers())
        return "".join([delta.content async for event in events_of(handle) for delta in event.deltas])


def _endless(*events: pb.GenerateEvent, at_once: int = 1) -> Rows:
    """The last of them again and again, so many in a step."""

    def rows(numbers: list[int]) -> Iterator[bytes]:
        for number in numbers:
            yield _step(*_row(number, *events[:-1]))
        while True:
            for number in numbers:
                yield _step(*_row(number, *[events[-1]] * at_once))

    return rows


def _bytes(message: bytes) -> Rows:
    return lambda _: [message]


def _each(*events: pb.GenerateEvent) -> Rows:
    return lambda numbers: [_step(*_row(number, *events)) for number in numbers]


_VIOLATIONS: dict[str, Rows] = {
    "garbage": _bytes(b"\xff\xff\xff\xff"),
    "a step too large": _each(content("x" * 40 * _MIB)),
    "another's number": lambda numbers: [_step(*_row(numbers[0] + 1000, *CORRECT))],
    "started twice": _each(started(), started(), content("never seen"), done()),
    "after the last one, in one step": _each(started(), done(), content("never seen")),
    "no such failure": lambda numbers: [
        _step(*(pb.Row(number=number, failure=pb.Failure(reason="Gone")) for number in numbers))
    ],
    "a row of nothing": lambda numbers: [_step(*(pb.Row(number=number) for number in numbers))],
    "text without end": _endless(started(), content("x" * _MIB)),
    "tokens without end": _endless(started(), content("x"), at_once=500),
    "nothing without end": _endless(started(), pb.GenerateEvent(), at_once=500),
    "many empty rows in a step": lambda numbers: [_step(*_row(numbers[0], *[pb.GenerateEvent()] * 100_000))],
}


@pytest.mark.parametrize("rows", _VIOLATIONS.values(), ids=_VIOLATIONS)
async def test_requests_of_a_violating_worker_fail_over(rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        _serving(_scripted(rows)) as faulty,
        _serving(_scripted()) as other,
        _fleet(faulty, other) as fleet,
    ):
        answers = await asyncio.gather(*(_ask(fleet) for _ in range(8)))
        sent = faulty.sent

    assert all(answer.endswith("hi") or answer == "" for answer in answers)
    assert not any("never" in answer for answer in answers)
    assert faulty.requests > 0
    # Of each request: what may wait, and what is read and dropped after its abort.
    assert sent < 8 * (16 + 16) * _MIB
    assert any(record.message == "worker broke the protocol" for record in caplog.records)
    assert not any(record.exc_info for record in caplog.records if record.name.startswith("drover"))


async def test_a_flood_to_slow_clients_does_not_grow_memory() -> None:
    """What waits is bounded for each request and for all."""
    rows = _endless(started(), content("x" * 100_000))
    async with _serving(_scripted(rows)) as faulty, _fleet(faulty) as fleet:
        model = fleet.find(_name("m"))
        assert model is not None
        before = _resident_bytes()
        tasks = []
        for number in range(32):
            handle = fleet.submit(
                model, pb.GenerateRequest(raw="p"), Ticket("c", str(number)), ObservedFailovers()
            )
            tasks.append(asyncio.create_task(handle.deliver(_never_ready)))
        peak, sent, still = before, -1, 0
        while still < _STILL_POLLS:
            still = still + 1 if sent == faulty.sent > 0 else 0
            sent = faulty.sent
            peak = max(peak, _resident_bytes())
            await asyncio.sleep(_POLL_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert 128 * _MIB < sent < 1024 * _MIB
    assert peak - before < 384 * _MIB


def _never_ready(event: pb.GenerateEvent) -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no file of ours
        return int(file.read().split()[1]) * 4096


@asynccontextmanager
async def _serving(engine: RawExchange) -> AsyncIterator[RawExchange]:
    more: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Exchange": grpc.stream_stream_rpc_method_handler(engine.exchange)
    }
    async with serving(engine, more):
        yield engine
