"""Requests of a stalled worker: which ones fail over, and how often, so that they stall no other one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from drover.errors import EngineStalled
from drover.v1 import engine_pb2 as pb
from frontend.routing import managed_worker, stall_detector
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet, can_embed
from frontend.routing.stalled_requests import StalledRequests, suspects
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_DEADLINE_SECONDS = 30.0
_CAN = pb.Capabilities(completion=True, resume=True, resume_constraint=True, json_constraint=True)


@dataclass
class _Request:
    request: pb.GenerateRequest | None
    has_output: bool = True
    stalls: int = 0


def _plain() -> pb.GenerateRequest:
    return pb.GenerateRequest(raw="p")


def _another() -> pb.GenerateRequest:
    return pb.GenerateRequest(raw="another")


def _constrained() -> pb.GenerateRequest:
    return pb.GenerateRequest(raw="p", json_schema="{}")


def _forced_call() -> pb.GenerateRequest:
    return pb.GenerateRequest(tool_choice=pb.ToolChoice(mode=pb.ToolChoice.REQUIRED))


def _with_tools() -> pb.GenerateRequest:
    return pb.GenerateRequest(chat=pb.ChatInput(tools=[pb.Tool(name="t")]))


def _with_image() -> pb.GenerateRequest:
    message = pb.Message(role="user", images=[pb.Media(data=b"i")])
    return pb.GenerateRequest(chat=pb.ChatInput(messages=[message]))


_STREAM = _Request(_plain())


@pytest.mark.parametrize(
    ("in_flight", "expected"),
    [
        ([_STREAM, _Request(_plain(), has_output=False)], [1]),
        ([_STREAM, _Request(_constrained())], [1]),
        ([_STREAM, _Request(_forced_call())], [1]),
        ([_STREAM, _Request(None, has_output=False)], [1]),
        ([_STREAM, _Request(_plain(), stalls=1)], [1]),
        ([_STREAM, _Request(_with_tools()), _Request(_constrained())], [2]),
        ([_STREAM, _Request(_with_tools()), _Request(_with_image())], [1, 2]),
        ([_STREAM], [0]),
        ([_STREAM, _Request(_plain())], []),
        ([], []),
    ],
    ids=[
        "no output",
        "schema",
        "forced call",
        "embedding",
        "twice",
        "schema and tools",
        "extras",
        "alone",
        "plain",
        "none",
    ],
)
def test_suspects(in_flight: Sequence[_Request], expected: list[int]) -> None:
    assert list(suspects(in_flight)) == [in_flight[number] for number in expected]


def _worker(number: int, *steps: Step) -> StallingWorker:
    return StallingWorker(f"w:{number}", steps, pb.Model(names=["m"], digest="d", capabilities=_CAN))


def _stops(worker: StallingWorker) -> None:
    """Its engine: it reports, has work and gets on with nothing."""
    worker.report = pb.LoadReport(loaded=True, running=1)


@asynccontextmanager
async def _fleet(monkeypatch: pytest.MonkeyPatch, *workers: StallingWorker) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(stall_detector, "_PROBE_SECONDS", 0.2)
    fleet = fleet_of(*workers, wait_seconds=0.3, stall_seconds=0.2)
    await fleet.start()
    try:
        await until(lambda: len(_ready(fleet)) == len(workers), _DEADLINE_SECONDS, "all are ready")
        yield fleet
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> list[str]:
    return [member.address for member in fleet._workers if member.ready]


async def _ask(fleet: Fleet, request: pb.GenerateRequest) -> str:
    model = fleet.find(_name("m"))
    assert model is not None
    async with asyncio.timeout(_DEADLINE_SECONDS):
        handle = fleet.submit(model, request, Ticket("c", "r"), ObservedFailovers())
        return "".join([delta.content async for event in events_of(handle) for delta in event.deltas])


@pytest.mark.parametrize(
    ("culprit", "steps"),
    [
        (_plain(), (STALL,)),
        (_plain(), (started(), STALL)),
        (_with_image(), (STALL,)),
        (_constrained(), (started(), content("{"), STALL)),
        (_forced_call(), (started(), content("{"), STALL)),
        (_plain(), (started(), content("a"), STALL)),
    ],
    ids=["prepared", "prefill", "image", "constraint", "call", "alone in decode"],
)
async def test_a_request_stalls_one_worker_of_three_only(
    monkeypatch: pytest.MonkeyPatch, culprit: pb.GenerateRequest, steps: Sequence[Step]
) -> None:
    workers = [_worker(number, *steps) for number in range(3)]
    for worker in workers:
        worker.on_submit = lambda worker=worker: _stops(worker)
    async with _fleet(monkeypatch, *workers) as fleet:
        with pytest.raises(EngineStalled, match="may be the cause"):
            await _ask(fleet, culprit)

        fallen = [worker for worker in workers if worker.handles]
        assert len(fallen) == 1
        with pytest.raises(EngineStalled, match="same request"):
            await _ask(fleet, culprit)
        assert [worker for worker in workers if worker.handles] == fallen
        others = [worker for worker in workers if worker not in fallen]
        assert _ready(fleet) == [worker.address for worker in others]
        for worker in others:
            worker.on_submit, worker.steps = None, (started(), content("served"), done())
        assert await asyncio.gather(*(_ask(fleet, _another()) for _ in range(8))) == ["served"] * 8


async def test_streams_next_to_a_suspect_fail_over(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = workers = [_worker(n, started(), content("begun "), STALL) for n in range(3)]
    async with _fleet(monkeypatch, *workers) as fleet:
        streams = [asyncio.create_task(_ask(fleet, _plain())) for _ in range(6)]
        await until(lambda: all(len(w.handles) == 2 for w in workers), _DEADLINE_SECONDS, "all are asked")
        one.steps = (STALL,)
        suspect = asyncio.create_task(_ask(fleet, _plain()))
        await until(lambda: len(one.handles) == 3, _DEADLINE_SECONDS, "the suspect is there")
        for worker in (two, three):
            worker.steps = (started(), content("end"), done())
        _stops(one)

        with pytest.raises(EngineStalled):
            await suspect
        await until(lambda: sum(task.done() for task in streams) == 2, _DEADLINE_SECONDS, "two failed over")
        assert [task.result() for task in streams if task.done()] == ["begun end"] * 2
        assert _ready(fleet) == [two.address, three.address]
        for task in streams:
            task.cancel()


async def test_a_stream_stalls_two_workers_and_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two plain streams that went well: neither is the suspect at first."""
    workers = [_worker(number, started(), content("x"), STALL) for number in range(4)]
    async with _fleet(monkeypatch, *workers) as fleet:
        streams = [asyncio.create_task(_ask(fleet, _plain())) for _ in range(8)]
        await until(lambda: all(len(w.handles) == 2 for w in workers), _DEADLINE_SECONDS, "all are asked")
        for worker in workers:
            worker.on_submit = lambda worker=worker: _stops(worker)
        _stops(workers[0])
        await until(lambda: sum(task.done() for task in streams) >= 2, _DEADLINE_SECONDS, "the cause ended")
        for task in streams:
            task.cancel()
        await asyncio.wait(streams)

        ended = [task for task in streams if not task.cancelled()]
        assert all(isinstance(task.exception(), EngineStalled) for task in ended)
        assert 1 <= len(_ready(fleet)) <= 3


async def test_a_request_sent_after_the_stall_is_no_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managed_worker, "_LATE_SECONDS", 0.05)
    one, two = workers = [_worker(number, STALL) for number in range(2)]
    async with _fleet(monkeypatch, *workers) as fleet:
        first = [asyncio.create_task(_ask(fleet, _plain())) for _ in range(2)]
        await until(lambda: all(len(w.handles) == 1 for w in workers), _DEADLINE_SECONDS, "both are asked")
        two.steps = (started(), content("served"), done())
        _stops(one)
        stopped_at = asyncio.get_running_loop().time()
        await until(
            lambda: asyncio.get_running_loop().time() > stopped_at + 0.1, _DEADLINE_SECONDS, "time has passed"
        )
        later = [asyncio.create_task(_ask(fleet, _plain())) for _ in range(2)]

        assert await asyncio.gather(*later) == ["served"] * 2
        results = await asyncio.gather(*(_result(task) for task in first))
        assert sum(isinstance(result, EngineStalled) for result in results) == 1


async def _result(task: asyncio.Task[str]) -> object:
    """None for one that still runs."""
    done, _ = await asyncio.wait({task}, timeout=1)
    if not done:
        task.cancel()
        return None
    return task.exception() or task.result()


async def test_a_request_queued_in_the_worker_is_no_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = workers = [_worker(number, STALL) for number in range(2)]
    async with _fleet(monkeypatch, *workers) as fleet:
        tasks = [asyncio.create_task(_ask(fleet, _plain())) for _ in range(4)]
        await until(lambda: all(len(w.handles) == 2 for w in workers), _DEADLINE_SECONDS, "both are asked")
        two.steps = (started(), content("served"), done())
        one.report = pb.LoadReport(loaded=True, running=1, waiting=1)

        results = await asyncio.gather(*(_result(task) for task in tasks))
    assert sum(isinstance(result, EngineStalled) for result in results) == 1
    assert results.count("served") == 1


async def test_a_silent_worker_with_a_live_connection_has_stalled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokenising, rendering and embedding happen there too."""
    monkeypatch.setattr(managed_worker, "_SILENCE_SECONDS", 0.3)
    can = pb.Capabilities(embedding=True)
    workers = [
        StallingWorker(f"w:{n}", described=pb.Model(names=["m"], digest="d", capabilities=can))
        for n in range(3)
    ]
    async with _fleet(monkeypatch, *workers) as fleet:
        model = fleet.find(_name("m"), can_embed)
        assert model is not None
        asked: list[str] = []

        async def stops(worker: object) -> None:
            assert isinstance(worker, StallingWorker)
            asked.append(worker.address)
            worker.is_silent = True
            await asyncio.Event().wait()

        with pytest.raises(EngineStalled):
            await asyncio.wait_for(fleet.call(model, stops), _DEADLINE_SECONDS)
        assert len(asked) == 1
        await until(lambda: len(_ready(fleet)) == 2, _DEADLINE_SECONDS, "one is out")

        embedding = asyncio.create_task(fleet.embed(model, pb.EmbedRequest(), Ticket(), ObservedFailovers()))
        await until(lambda: any(worker.embeddings for worker in workers), _DEADLINE_SECONDS, "it is sent")
        (stopped,) = [worker for worker in workers if worker.embeddings]
        stopped.is_silent = True
        with pytest.raises(EngineStalled):
            await asyncio.wait_for(embedding, _DEADLINE_SECONDS)
        assert sum(len(worker.embeddings) for worker in workers) == 1


async def test_requests_of_a_lost_connection_fail_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine or a network that is gone is no request's fault."""
    monkeypatch.setattr(managed_worker, "_SILENCE_SECONDS", 0.3)
    workers = [_worker(number, STALL) for number in range(2)]
    async with _fleet(monkeypatch, *workers) as fleet:
        asking = asyncio.create_task(_ask(fleet, _plain()))
        await until(lambda: any(worker.handles for worker in workers), _DEADLINE_SECONDS, "it is sent")
        silent, other = sorted(workers, key=lambda worker: not worker.handles)
        other.steps = (started(), content("served"), done())
        silent.is_connected, silent.is_silent = False, True

        assert await asking == "served"


def test_a_request_that_stalled_a_worker_is_refused_for_ten_minutes() -> None:
    now = 0.0
    known = StalledRequests(lambda: now)
    known.add(pb.GenerateRequest(request_id="1", raw="p", priority=3))
    known.check(pb.GenerateRequest(request_id="1", raw="another"))
    with pytest.raises(EngineStalled):
        known.check(pb.GenerateRequest(request_id="2", raw="p"))
    now = 601.0
    known.check(pb.GenerateRequest(request_id="2", raw="p"))
    assert len(known) == 0


def test_a_second_stall_renews_the_refusal() -> None:
    known = StalledRequests()
    known.add(pb.GenerateRequest(raw="again"))
    for number in range(255):
        known.add(pb.GenerateRequest(raw=str(number)))
    known.add(pb.GenerateRequest(raw="again"))
    known.add(pb.GenerateRequest(raw="one more"))
    with pytest.raises(EngineStalled):
        known.check(pb.GenerateRequest(raw="again"))
    known.check(pb.GenerateRequest(raw="0"))


def test_the_number_of_remembered_requests_is_limited() -> None:
    known = StalledRequests()
    for number in range(1000):
        known.add(pb.GenerateRequest(raw=str(number)))
    known.check(pb.GenerateRequest(raw="0"))
    with pytest.raises(EngineStalled):
        known.check(pb.GenerateRequest(raw="999"))
