"""Discovery, and workers that it removes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from drover.errors import NoWorkerReady, WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.delivery import events_of
from frontend.routing.discovery import discoveries_of
from frontend.routing.discovery import dns as dns_module
from frontend.routing.discovery.dns import DnsNames
from frontend.routing.discovery.static import Static
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.round_robin import RoundRobin
from frontend.routing.served_model import ServedModel
from tests.fakes.fleets import ObservedFailovers, fleet_of, picked
from tests.fakes.stalling_worker import STALL, StallingWorker, content, started
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_DEADLINE_SECONDS = 30.0
_GONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


class Resolver:
    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [f"{host}-{address}:{port}" for address in answer]


async def _first(discovery: DnsNames, count: int) -> list[Sequence[str]]:
    lists: list[Sequence[str]] = []
    async with asyncio.timeout(_DEADLINE_SECONDS), aclosing(discovery.addresses()) as found:
        async for addresses in found:
            lists.append(addresses)
            if len(lists) == count:
                break
    return lists


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_module, "_POLL_SECONDS", 0.01)


async def test_a_dns_name_gives_all_its_addresses_and_each_change_once() -> None:
    resolver = Resolver(["b", "a"], ["a", "b"], ["a"], ["a", "b"], ["a"])

    assert await _first(DnsNames(["n:1"], resolver), 2) == [["n-a:1", "n-b:1"], ["n-a:1"]]


async def test_a_failed_lookup_removes_no_worker() -> None:
    resolver = Resolver(["a"], _GONE, _GONE, ["a", "b"])

    assert await _first(DnsNames(["n:1"], resolver), 2) == [["n-a:1"], ["n-a:1", "n-b:1"]]


async def test_a_name_that_is_gone_has_no_workers() -> None:
    assert await _first(DnsNames(["n:1"], Resolver(["a"], _GONE)), 2) == [["n-a:1"], []]


@pytest.mark.parametrize(
    "away", [socket.gaierror(socket.EAI_AGAIN, "try again"), TimeoutError(), OSError("no route")]
)
async def test_while_no_name_server_answers_all_stay(away: OSError, caplog: pytest.LogCaptureFixture) -> None:
    resolver = Resolver(["a"], *[away] * 20, ["b", "a"])

    assert await _first(DnsNames(["n:1"], resolver), 2) == [["n-a:1"], ["n-a:1", "n-b:1"]]
    assert resolver.asked == 22
    assert [record.getMessage() for record in caplog.records] == ["DNS lookup failed"]


async def test_a_real_name() -> None:
    (found,) = await _first(DnsNames(["localhost:50051"]), 1)

    assert "127.0.0.1:50051" in found


def test_the_setting_mixes_addresses_and_names() -> None:
    ways = discoveries_of(["a:1", "dns:workers:50051", "unix:/x"])

    assert [type(way) for way in ways] == [Static, DnsNames]
    assert [type(way) for way in discoveries_of(["dns:workers:50051"])] == [DnsNames]


class Changing:
    """Implements Discovery: says what the test wants."""

    def __init__(self, *addresses: str) -> None:
        self._lists: asyncio.Queue[Sequence[str]] = asyncio.Queue()
        self.now(*addresses)

    def now(self, *addresses: str) -> None:
        self._lists.put_nowait(addresses)

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        while True:
            yield await self._lists.get()


async def test_a_removed_worker_finishes_its_requests() -> None:
    can = pb.Capabilities(completion=True)
    workers = {
        address: StallingWorker(
            address, (started(), content("hi"), STALL), pb.Model(names=["m"], digest="d", capabilities=can)
        )
        for address in ("w:1", "w:2")
    }
    discovery = Changing("w:1")
    fleet = Fleet([discovery], workers.__getitem__, RoundRobin(), QueueTable(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "the first is ready")
        model = _found_m(fleet)
        events = events_of(fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket(), ObservedFailovers()))
        assert (await anext(events)).HasField("started")
        discovery.now("w:2")
        await until(
            lambda: [seen.address for seen in fleet.workers()] == ["w:2"],
            _DEADLINE_SECONDS,
            "the second came",
        )
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "and is ready")

        assert picked(fleet, model) == "w:2"
        assert (await anext(events)).deltas[0].content == "hi"
        assert not workers["w:1"].closed
        await events.aclose()
        await until(lambda: workers["w:1"].closed, _DEADLINE_SECONDS, "the first one may go")
    finally:
        await fleet.stop()
    assert workers["w:2"].closed


async def test_a_model_whose_only_worker_is_replaced_is_not_unknown() -> None:
    worker = StallingWorker("w:1", (), pb.Model(names=["m"], digest="d"))
    discovery = Changing("w:1")
    fleet = Fleet([discovery], lambda address: worker, RoundRobin(), QueueTable(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is ready")
        discovery.now()
        await until(lambda: not fleet.workers(), _DEADLINE_SECONDS, "it is gone")
        with pytest.raises(NoWorkerReady):
            picked(fleet, _found_m(fleet))
    finally:
        await fleet.stop()


async def test_a_draining_worker_that_is_found_again_is_reused() -> None:
    worker = StallingWorker("w:1", (started(), STALL), _model("d"))
    connected: list[str] = []

    def connect(address: str) -> StallingWorker:
        connected.append(address)
        return worker

    discovery = Changing("w:1")
    fleet = Fleet([discovery], connect, RoundRobin(), QueueTable(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is ready")
        model = _found_m(fleet)
        events = events_of(fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket(), ObservedFailovers()))
        await anext(events)
        discovery.now()
        await until(lambda: not fleet.workers(), _DEADLINE_SECONDS, "it is gone")
        discovery.now("w:1")
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is back")

        assert connected == ["w:1"]
        assert [seen.requests for seen in fleet.workers()] == [1]
        await events.aclose()
        assert [seen.requests for seen in fleet.workers()] == [0]
        assert not worker.closed
    finally:
        await fleet.stop()
    assert worker.closed


async def test_a_worker_removed_during_a_load_stays_open_until_it_ends() -> None:
    worker = StallingWorker("w:1", (), _model("d"))
    discovery = Changing("w:1")
    fleet = Fleet([discovery], lambda address: worker, RoundRobin(), QueueTable(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is ready")
        worker.load_stall = asyncio.Event()
        loading = asyncio.create_task(fleet.load(_found_m(fleet), pb.LoadRequest()))
        await until(lambda: bool(worker.loads), _DEADLINE_SECONDS, "it loads")
        discovery.now()
        await until(lambda: not fleet.workers(), _DEADLINE_SECONDS, "it is gone")
        assert not worker.closed
        worker.load_stall.set()
        await loading
        await until(lambda: worker.closed, _DEADLINE_SECONDS, "it may go")
    finally:
        await fleet.stop()


async def test_one_name_for_different_files_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    workers = {
        address: StallingWorker(address, (), _model(digest, modified))
        for address, digest, modified in (("w:1", "0a", 1), ("w:2", "0b", 2), ("w:3", "0a", 1))
    }
    discovery = Changing("w:1", "w:3")
    fleet = Fleet([discovery], workers.__getitem__, RoundRobin(), QueueTable(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: _ready(fleet) == 2, _DEADLINE_SECONDS, "two of one kind are ready")
        assert not _conflicts(caplog)
        discovery.now("w:1", "w:2")
        await until(
            lambda: _ready(fleet) == 2 and bool(_conflicts(caplog)), _DEADLINE_SECONDS, "it is logged"
        )
        assert picked(fleet, _found_m(fleet)) == "w:2"
    finally:
        await fleet.stop()
    (conflict,) = _conflicts(caplog)
    assert conflict == {"names": ["m"], "workers": ["w:2", "w:1"], "newer": "0b", "older": "0a"}


def _model(digest: str, modified: int = 1) -> pb.Model:
    can = pb.Capabilities(completion=True)
    return pb.Model(names=["m"], digest=digest, capabilities=can, modified_unix_ns=modified)


def _found_m(fleet: Fleet) -> ServedModel:
    model = fleet.find(_name("m"))
    assert model is not None
    return model


def _ready(fleet: Fleet) -> int:
    return sum(seen.ready for seen in fleet.workers())


def _conflicts(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [
        record.__dict__["fields"]
        for record in caplog.records
        if "different model files" in record.getMessage()
    ]


async def test_a_fleet_that_starts_waits_for_its_workers() -> None:
    here, away = StallingWorker("here:1"), StallingWorker("away:1", refusal=WorkerUnreachable("away"))
    fleet = fleet_of(here, away)
    await fleet.start()
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            await fleet.wait_for_workers(2 * _DEADLINE_SECONDS)
        ready = {seen.address: seen.ready for seen in fleet.workers()}
    finally:
        await fleet.stop()
    assert ready == {"here:1": True, "away:1": False}


class Silent(StallingWorker):
    """Takes the call, and that is all."""

    async def model(self, timeout_seconds: float, verbose: bool = False) -> pb.Model:
        await asyncio.Event().wait()
        raise AssertionError("never")


async def test_a_silent_worker_does_not_delay_the_start() -> None:
    fleet = fleet_of(Silent("silent:1"))
    began = asyncio.get_running_loop().time()
    await fleet.start()
    await fleet.wait_for_workers(0.05)
    took = asyncio.get_running_loop().time() - began
    await fleet.stop()
    assert 0.05 <= took < 1
