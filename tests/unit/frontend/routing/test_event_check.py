"""Workers that flood, or break the protocol between the tiers: they are cut off, the log says so, and their
requests go on elsewhere.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import repeat

import pytest

from drover.errors import DroverError, ProtocolBroken
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.backends.grpc import event_check, generate_stream
from frontend.routing.backends.grpc.event_check import EventCheck, max_bytes
from frontend.routing.backends.grpc.worker import GrpcWorker
from frontend.routing.discovery.static import Static
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet, can_embed
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.round_robin import RoundRobin
from tests.fakes.fleets import ObservedFailovers, fleet_of
from tests.fakes.raw_engine import RawEngine, serving
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_DEADLINE_SECONDS = 30.0
_MIB = 1024 * 1024


def _started() -> pb.GenerateEvent:
    return pb.GenerateEvent(started=pb.Started(prompt_ids=[1]))


def _content(text: str, *ids: int) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=text, token_ids=ids)])


def _call(index: int) -> pb.GenerateEvent:
    call = pb.ToolCallDelta(index=index, id=f"c{index}", name="f", arguments_fragment="{}", complete=True)
    return pb.GenerateEvent(deltas=[pb.Delta(tool_calls=[call])])


def _done(reason: int = 1) -> pb.GenerateEvent:
    event = pb.GenerateEvent()
    event.ParseFromString(bytes([0x1A, 2, 8, reason]))
    return event


CORRECT = (_started(), _content("hi", 7), _done())
_BROKEN: dict[str, Sequence[pb.GenerateEvent]] = {
    "started twice": (_started(), _started()),
    "after the last one": (_started(), _done(), _content("more")),
    "last one twice": (_started(), _done(), _done()),
    "a call that is skipped": (_started(), _call(1)),
    "a huge index": (_started(), _call(2**32 - 1)),
    "no such reason": (_started(), _done(99)),
    "too much text": (_started(), *[_content("x" * _MIB)] * 20),
    "too many empty events": (_started(), *[pb.GenerateEvent()] * 100_000),
}


@pytest.mark.parametrize("events", _BROKEN.values(), ids=_BROKEN)
def test_violations_are_detected(events: Sequence[pb.GenerateEvent]) -> None:
    with pytest.raises(ProtocolBroken):
        _check(events)


def _check(events: Sequence[pb.GenerateEvent]) -> None:
    check = EventCheck(pb.GenerateRequest(), 1024, 0)
    for event in events:
        check.check(event)


def test_a_stream_without_done_is_a_violation() -> None:
    check = EventCheck(pb.GenerateRequest(), 1024, 0)
    check.check(_started())
    with pytest.raises(ProtocolBroken):
        check.check_complete()


def test_a_correct_stream_is_no_violation() -> None:
    """Calls that go on after others, and more calls of a continued answer, are."""
    check = EventCheck(pb.GenerateRequest(), 1024, 1)
    for event in (_started(), _call(1), _call(2), _call(0), _content("x" * 1000, *range(1000)), _done()):
        check.check(event)
    check.check_complete()


def test_log_probabilities_fit_into_the_limit() -> None:
    entry = pb.TokenLogprob(token_id=2**31, token=b"x" * 20, logprob=-1.5)
    for number in range(20):
        entry.top.add(token_id=2**31 + number, token=b"y" * 20, logprob=-2.5)
    event = pb.GenerateEvent(deltas=[pb.Delta(content="x" * 20, token_ids=[2**31], logprobs=[entry])])
    request = pb.GenerateRequest(top_logprobs=20)

    assert (event.ByteSize() + 64) * 100_000 <= max_bytes(request, 100_000)


@asynccontextmanager
async def _fleet(*engines: RawEngine) -> AsyncIterator[Fleet]:
    addresses = [engine.address for engine in engines]
    fleet = Fleet([Static(addresses)], GrpcWorker, RoundRobin(), QueueTable(64, 1.0))
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == len(engines), _DEADLINE_SECONDS, "all are ready")
        yield fleet
    finally:
        await fleet.stop()


def _ready(fleet: Fleet) -> int:
    return sum(member.ready for member in fleet._workers)


async def _ask(fleet: Fleet) -> str:
    model = fleet.find(_name("m"))
    assert model is not None
    async with asyncio.timeout(_DEADLINE_SECONDS):
        handle = fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket("c", "r"), ObservedFailovers())
        return "".join([delta.content async for event in events_of(handle) for delta in event.deltas])


def _bytes(*events: pb.GenerateEvent) -> Callable[[], Iterable[bytes]]:
    return lambda: (event.SerializeToString() for event in events)


def _endless(*events: pb.GenerateEvent) -> Callable[[], Iterable[bytes]]:
    def violations() -> Iterator[bytes]:
        yield from _bytes(*events[:-1])()
        yield from repeat(events[-1].SerializeToString())

    return violations


_VIOLATIONS: dict[str, Callable[[], Iterable[bytes]]] = {
    "garbage": lambda: [b"\xff\xff\xff\xff"],
    "garbage in mid-answer": lambda: [_started().SerializeToString(), b"\x0a\xff"],
    "text that is no UTF-8": lambda: [b"\x12\x03\x0a\x01\xff"],
    "no end": _bytes(_started()),
    "nothing": _bytes(),
    "a message too large": _bytes(_started(), _content("x" * 20 * _MIB)),
    "text without end": _endless(_started(), _content("x" * _MIB)),
    "nothing without end": _endless(_started(), pb.GenerateEvent()),
    "events of unknown kind": lambda: repeat(b"\xfa\x01\x02hi"),
    "a huge index": _bytes(_started(), _call(2**32 - 1)),
}


@pytest.mark.parametrize("violations", _VIOLATIONS.values(), ids=_VIOLATIONS)
async def test_requests_of_a_violating_worker_fail_over(
    violations: Callable[[], Iterable[bytes]],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 70,000 empty events are allowed else: many seconds of both tiers in one event loop.
    monkeypatch.setattr(event_check, "_BASE_BYTES", 256 * 1024)
    async with (
        serving(RawEngine(violations)) as faulty,
        serving(RawEngine(_bytes(*CORRECT))) as correct,
        _fleet(faulty, correct) as fleet,
    ):
        answers = [await _ask(fleet) for _ in range(4)]

    assert all(answer.endswith("hi") for answer in answers)
    assert faulty.requests > 0
    assert faulty.sent < 64 * _MIB
    assert any(record.message == "worker broke the protocol" for record in caplog.records)
    assert not any(record.exc_info for record in caplog.records if record.name.startswith("drover"))


async def test_without_another_worker_the_request_fails_and_does_not_hang() -> None:
    async with serving(RawEngine(_bytes(_started()))) as faulty, _fleet(faulty) as fleet:
        with pytest.raises(ProtocolBroken, match="broke the protocol"):
            await _ask(fleet)


async def test_events_after_done_are_not_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """The client has its answer."""
    violations = _endless(*CORRECT, _content("x" * 1000))
    async with serving(RawEngine(violations)) as faulty, _fleet(faulty) as fleet:
        assert (await _ask(fleet)).startswith("hi")
        assert any(record.message == "worker broke the protocol" for record in caplog.records)
        sent = faulty.sent
        await until(lambda: fleet._workers[0].requests == 0, _DEADLINE_SECONDS, "the call is over")
    assert sent < 8 * _MIB


async def test_a_call_that_stays_open_after_done_fails_no_request(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(generate_stream, "_END_SECONDS", 0.05)
    async with serving(RawEngine(_bytes(*CORRECT), hangs=True)) as faulty, _fleet(faulty) as fleet:
        assert (await _ask(fleet)).startswith("hi")
    assert any(record.message == "worker broke the protocol" for record in caplog.records)


async def test_the_breaker_opens_for_longer_each_time() -> None:
    async with (
        serving(RawEngine(_bytes(_started()))) as faulty,
        serving(RawEngine(_bytes(*CORRECT))) as correct,
        _fleet(faulty, correct) as fleet,
    ):
        for _ in range(40):
            assert await _ask(fleet) == "hi"
    assert faulty.requests <= 3


async def test_a_flood_does_not_grow_memory() -> None:
    """Without a reader, what it sends is bounded by gRPC's flow control window."""
    violations = _endless(_started(), _content("x" * _MIB))
    async with serving(RawEngine(violations)) as faulty, _fleet(faulty) as fleet:
        model = fleet.find(_name("m"))
        assert model is not None
        before = _resident_bytes()
        handles = [
            fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket("c", str(number)), ObservedFailovers())
            for number in range(32)
        ]
        streams = [events_of(handle) for handle in handles]
        for stream in streams:
            await anext(stream)
        sent = -1
        while sent != faulty.sent:
            sent = faulty.sent
            await asyncio.sleep(0.5)
        grown = _resident_bytes() - before
        for stream in streams:
            await stream.aclose()
    assert sent < 32 * 8 * _MIB
    assert grown < 512 * _MIB


def _resident_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def test_reports_are_read_at_a_limited_rate() -> None:
    faulty = RawEngine(_bytes(*CORRECT), report_pause_seconds=0)
    async with serving(faulty), _fleet(faulty) as fleet:
        flooding = fleet._workers[0]
        seen: set[float] = set()
        began = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < began + 0.5:
            seen.add(flooding.reported_at)
            await asyncio.sleep(0)
        assert 1 < len(seen) <= 60


async def test_a_worker_with_too_large_a_report_is_not_ready() -> None:
    faulty = RawEngine(_bytes(*CORRECT))
    async with serving(faulty), _fleet(faulty) as fleet:
        faulty.report += b"\xfa\x01\x80\x80\x40" + b"x" * _MIB
        await until(lambda: _ready(fleet) == 0, _DEADLINE_SECONDS, "it is out")
        with pytest.raises(DroverError):
            await _ask(fleet)


async def test_the_number_of_model_names_is_limited() -> None:
    faulty = RawEngine(_bytes(*CORRECT))
    faulty.model.names.extend(f"n{number}" for number in range(10_000))
    async with serving(faulty), _fleet(faulty) as fleet:
        assert len(fleet.served()) <= 256


@pytest.mark.parametrize("vectors", [0, 1, 3])
async def test_a_wrong_number_of_embeddings_is_a_violation(vectors: int) -> None:
    can = pb.Capabilities(embedding=True)
    workers = [
        StallingWorker(f"w:{n}", described=pb.Model(names=["m"], digest="d", capabilities=can))
        for n in range(2)
    ]
    workers[0].embedded = pb.EmbedResponse(embeddings=[pb.Embedding(values=[1])] * vectors)
    workers[1].embedded = pb.EmbedResponse(embeddings=[pb.Embedding(values=[2])] * 2)
    fleet = fleet_of(*workers)
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == 2, _DEADLINE_SECONDS, "both are ready")
        model = fleet.find(_name("m"), can_embed)
        assert model is not None
        for _ in range(2):
            request = pb.EmbedRequest(texts=["a", "b"])
            response = await fleet.embed(model, request, Ticket("c", "r"), ObservedFailovers())
            assert [list(each.values) for each in response.embeddings] == [[2], [2]]
    finally:
        await fleet.stop()
    assert workers[0].embeddings
