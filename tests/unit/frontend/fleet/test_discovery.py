"""Workers that are found, and what becomes of those that are found no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from drover.errors import NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.admission.admission import Admission
from frontend.admission.queue import Ticket
from frontend.fleet.discovery import discoveries_of
from frontend.fleet.discovery import dns as dns_module
from frontend.fleet.discovery.dns import DnsNames
from frontend.fleet.discovery.static import Static
from frontend.fleet.fleet import Fleet
from frontend.fleet.picking.round_robin import RoundRobin
from tests.fakes.fleets import Told
from tests.fakes.stalling_worker import STALL, StallingWorker, content, started
from tests.support.waiting import until
from tests.unit.frontend.fleet.test_fleet import _name

_DEADLINE_SECONDS = 10.0


class Resolver:
    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
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


async def test_a_name_stands_for_all_its_addresses_and_changes_are_told_once() -> None:
    resolver = Resolver(["b", "a"], ["a", "b"], ["a"], ["a", "b"], ["a"])

    assert await _first(DnsNames(["n:1"], resolver), 2) == [["n-a:1", "n-b:1"], ["n-a:1"]]


async def test_a_resolvers_hiccup_loses_nobody() -> None:
    away = OSError("try again")
    resolver = Resolver(["a"], away, away, ["a", "b"])

    assert await _first(DnsNames(["n:1"], resolver), 2) == [["n-a:1"], ["n-a:1", "n-b:1"]]


async def test_a_name_that_is_gone_has_no_workers() -> None:
    assert await _first(DnsNames(["n:1"], Resolver(["a"], OSError("no such host"))), 2) == [["n-a:1"], []]


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


async def test_who_is_found_no_more_finishes_what_it_has() -> None:
    can = pb.Capabilities(completion=True)
    workers = {
        address: StallingWorker(
            address, (started(), content("hi"), STALL), pb.Model(names=["m"], digest="d", capabilities=can)
        )
        for address in ("w:1", "w:2")
    }
    discovery = Changing("w:1")
    fleet = Fleet([discovery], workers.__getitem__, RoundRobin(), Admission(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "the first is ready")
        model = fleet.find(_name("m"))
        assert model is not None
        events = aiter(fleet.submit(model, pb.GenerateRequest(raw="p"), Ticket(), Told()))
        assert (await anext(events)).HasField("started")
        discovery.now("w:2")
        await until(
            lambda: [seen.address for seen in fleet.workers()] == ["w:2"],
            _DEADLINE_SECONDS,
            "the second came",
        )
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "and is ready")

        assert fleet.pick(model).address == "w:2"
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
    fleet = Fleet([discovery], lambda address: worker, RoundRobin(), Admission(10, 1.0))
    await fleet.start()
    try:
        await until(lambda: fleet.has_ready_worker, _DEADLINE_SECONDS, "it is ready")
        discovery.now()
        await until(lambda: not fleet.workers(), _DEADLINE_SECONDS, "it is gone")
        found = fleet.find(_name("m"))
        assert found is not None
        with pytest.raises(NoWorkerReady):
            fleet.pick(found)
    finally:
        await fleet.stop()
