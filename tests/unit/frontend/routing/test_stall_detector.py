"""Stalled workers, which answer health checks and produce nothing."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from frontend.routing import stall_detector
from frontend.routing.backends.delivery import events_of
from frontend.routing.fair_queue import Ticket
from frontend.routing.stall_detector import StallDetector
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.stalling_worker import STALL, StallingWorker, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_DEADLINE_SECONDS = 30.0
_GONE = WorkerUnreachable("gone")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def _stalls(*reports: pb.LoadReport, every: float = 1.0) -> bool:
    clock = Clock()
    detector = StallDetector(30, clock)
    stalled = False
    for report in reports:
        clock.seconds += every
        stalled = detector.is_stalled(report)
    return stalled


def _busy(**more: int) -> pb.LoadReport:
    return pb.LoadReport(**{"running": 1, "loaded": True, **more})  # type: ignore[arg-type]  # mypy cannot type fields in **


def test_no_progress_is_a_stall() -> None:
    assert _stalls(*[_busy(decode_tokens_done=7)] * 40)
    assert not _stalls(*[_busy(decode_tokens_done=7)] * 20)


@pytest.mark.parametrize("counter", ["prefill_tokens_done", "decode_tokens_done", "cached_tokens_done"])
def test_any_progress_is_no_stall(counter: str) -> None:
    assert not _stalls(*(_busy(**{counter: number // 20}) for number in range(200)))


def test_waiting_prompt_tokens_extend_the_limit() -> None:
    assert not _stalls(*[_busy(waiting_prompt_tokens=1_000)] * 60)
    assert _stalls(*[_busy(waiting_prompt_tokens=1_000)] * 100)


def test_an_idle_or_loading_worker_does_not_stall() -> None:
    assert not _stalls(*[pb.LoadReport(loaded=True)] * 100)
    assert not _stalls(*[pb.LoadReport(waiting=3)] * 100)


def test_zero_disables_it() -> None:
    clock = Clock()
    detector = StallDetector(0, clock)
    detector.is_stalled(_busy())
    clock.seconds = 1e6
    assert not detector.is_stalled(_busy())


async def test_a_stalled_worker_is_taken_out_until_a_probe_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stall_detector, "_PROBE_SECONDS", 0.3)
    can = pb.Capabilities(completion=True, resume=True)
    workers = [
        StallingWorker(
            f"w:{number}",
            (started(), content("begun "), STALL),
            pb.Model(names=["m"], digest="d", capabilities=can),
        )
        for number in range(2)
    ]
    fleet = fleet_of(*workers, stall_seconds=0.2)
    await fleet.start()
    try:
        await until(lambda: len(_ready(fleet)) == 2, _DEADLINE_SECONDS, "both are ready")
        model = fleet.find(_name("m"))
        assert model is not None

        async def ask() -> str:
            handle = fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket(), ObservedFailovers())
            return "".join([delta.content async for event in events_of(handle) for delta in event.deltas])

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        await until(lambda: all(len(worker.handles) == 2 for worker in workers), _DEADLINE_SECONDS, "asked")
        stalled, other = workers
        other.steps = (started(), content("end"), done())
        stalled.report = _busy()

        answers = [
            await asyncio.wait_for(each, _DEADLINE_SECONDS) for each in asking if await _failed_over(each)
        ]
        assert answers == ["begun end"] * 2
        await until(lambda: _ready(fleet) == [other.address], _DEADLINE_SECONDS, "it is out")
        for handle_there in stalled.handles:
            handle_there.cancel()
        stalled.report = pb.LoadReport(loaded=True)
        stalled.steps = (started(), done())
        await until(lambda: len(_ready(fleet)) == 2, 2 * _DEADLINE_SECONDS, "it is back")
    finally:
        await fleet.stop()


async def _failed_over(asking: asyncio.Task[str]) -> bool:
    """Requests on the other worker do not fail over; they wait for ever there."""
    done, _ = await asyncio.wait({asking}, timeout=2)
    return bool(done) or not asking.cancel()


def _ready(fleet: object) -> list[str]:
    return [member.address for member in fleet._workers if member.ready]  # type: ignore[attr-defined]  # what is ready has no public view
