"""Requests that an engine cannot continue: regenerated and compared, or failed with the worker's error."""

from __future__ import annotations

import pytest

from drover.errors import (
    DroverError,
    EngineFailed,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import done, started
from tests.unit.frontend.routing.failover_fleet import (
    GONE,
    RESUMES,
    collect,
    failover_fleet,
    resumable_worker,
    text_of,
    tokens,
    used,
)


def _sampling(**fields: float) -> pb.GenerateRequest:
    request = pb.GenerateRequest(raw="p")
    for name, value in fields.items():
        setattr(request.sampling, name, value)
    return request


def _json(temperature: float) -> pb.GenerateRequest:
    request = _sampling(temperature=temperature)
    request.any_json = True
    return request


def _with_image() -> pb.GenerateRequest:
    request = _sampling(temperature=1)
    request.chat.messages.add(role="user").images.add(data=b"i")
    return request


@pytest.mark.parametrize(
    ("request_", "can", "reason"),
    [
        (_json(1), RESUMES, NotResumable.CONSTRAINED),
        (_sampling(temperature=1, repeat_penalty=1.1), RESUMES, NotResumable.PENALTIES),
        (_with_image(), RESUMES, NotResumable.IMAGES),
        (_sampling(temperature=1), pb.Capabilities(completion=True), NotResumable.ENGINE),
    ],
)
async def test_what_is_not_resumable_fails_with_the_workers_error(
    request_: pb.GenerateRequest, can: pb.Capabilities, reason: NotResumable
) -> None:
    steps = (started(), tokens("one ", 7), GONE)
    workers = [resumable_worker(f"w:{number}", *steps, can=can) for number in range(2)]
    observer = ObservedFailovers()
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(WorkerUnreachable):
            await collect(fleet, observer, request_)

    assert observer.not_resumable_because == [reason]
    assert sum(used(*workers)) == 1


@pytest.mark.parametrize(
    ("again", "rest"),
    [
        ([tokens("one tw", 7, 8), tokens("o three", 9, 10)], "one two three"),
        ([tokens("o", 7), tokens("ne two", 8), tokens(" three", 9)], "one two three"),
    ],
)
async def test_at_temperature_0_the_response_is_regenerated_and_compared(
    again: list[pb.GenerateEvent], rest: str
) -> None:
    workers = [
        resumable_worker(f"w:{number}", started(), tokens("one two", 7, 8), GONE) for number in range(2)
    ]

    def next_answers() -> None:
        for worker in workers:
            worker.steps = (started(), *again, done())

    for worker in workers:
        worker.on_submit = next_answers
    observer = ObservedFailovers()
    async with failover_fleet(*workers) as fleet:
        events = await collect(fleet, observer, _json(0))

    assert text_of(events) == rest
    assert observer.failovers == [ResumeStrategy.REGENERATE]
    assert [event.HasField("started") for event in events].count(True) == 1


@pytest.mark.parametrize("other", ["one twelve", "one"])
async def test_a_regenerated_response_that_differs_is_an_error(other: str) -> None:
    workers = [
        resumable_worker(f"w:{number}", started(), tokens("one two", 7, 8), GONE) for number in range(2)
    ]

    def next_answers() -> None:
        for worker in workers:
            worker.steps = (started(), tokens(other, 7, 8), done())

    for worker in workers:
        worker.on_submit = next_answers
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(DroverError):
            await collect(fleet, ObservedFailovers(), _json(0))


async def test_a_regenerated_call_of_another_function_is_an_error() -> None:
    workers = [resumable_worker(f"w:{number}", started(), _call("look", "", 7), GONE) for number in range(2)]

    def next_calls_another() -> None:
        for worker in workers:
            worker.steps = (started(), _call("count", '{"a": 1}', 7, 8), done())

    for worker in workers:
        worker.on_submit = next_calls_another
    async with failover_fleet(*workers) as fleet:
        with pytest.raises(EngineFailed, match="answers differently"):
            await collect(fleet, ObservedFailovers(), _json(0))


def _call(name: str, arguments: str, *ids: int) -> pb.GenerateEvent:
    call = pb.ToolCallDelta(index=0, id="call", name=name, arguments_fragment=arguments)
    return pb.GenerateEvent(deltas=[pb.Delta(tool_calls=[call], token_ids=ids)])
