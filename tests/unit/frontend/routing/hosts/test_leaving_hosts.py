"""Hosts that leave or come back, and what stays known of their models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import grpc
import pytest

from drover.errors import (
    NoWorkerReady,
)
from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from frontend.routing.backends.connect import connect
from frontend.routing.fleet import Fleet
from frontend.routing.hosts import hosts as hosts_module
from frontend.routing.hosts import stores as stores_module
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.least_load import LeastLoad
from tests.support.hosts import hosting, put_simulated
from tests.support.processes import free_port
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import name
from tests.unit.frontend.routing.hosts.conftest import SECONDS, fleet_of, generate, send, stores_of


async def test_a_host_that_is_lost_keeps_its_models_known(tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["one"])
    async with AsyncExitStack() as owned:
        async with hosting(tmp_path / "store") as host:
            fleet = await owned.enter_async_context(fleet_of(host.address, move_wait_seconds=0))
            await generate(fleet, "one")
        await until(lambda: not fleet.hosts.any_ready, SECONDS, "the host is lost")
        assert fleet.find(name("one")) is not None
        with pytest.raises(NoWorkerReady):
            await generate(fleet, "one")


async def test_only_a_host_that_was_there_is_logged_as_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As workers: a frontend that starts before its hosts warns of nothing."""
    caplog.set_level(logging.INFO, "drover.fleet")

    def events() -> list[tuple[str, str]]:
        names = [(record.levelname, record.getMessage()) for record in caplog.records]
        return [each for each in names if each[1].startswith("host ")]

    put_simulated(tmp_path / "store", ["one"])
    address = f"127.0.0.1:{free_port()}"
    async with fleet_of(address) as fleet:
        assert events() == [("INFO", "host cannot be reached")]
        async with hosting(tmp_path / "store", "--listen", address):
            await until(lambda: fleet.hosts.any_ready, SECONDS, "the host is there")
        await until(lambda: not fleet.hosts.any_ready, SECONDS, "the host drains")
        await until(lambda: ("WARNING", "host lost") in events(), SECONDS, "the host is lost")
    assert ("WARNING", "host lost") not in events()[: events().index(("INFO", "host joined"))]


async def test_a_worker_in_the_place_of_a_host_is_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "drover.fleet")
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with fleet_of(f"127.0.0.1:{port}"):
        (record,) = [each for each in caplog.records if each.getMessage() == "host cannot be reached"]
    await server.stop(None)
    assert "no worker host listens there; workers are named in --workers" in str(vars(record))


class _Changing:
    """Implements Discovery: two hosts that leave together."""

    def __init__(self, number: int, leave: asyncio.Event) -> None:
        self._number = number
        self._leave = leave

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        yield [f"127.0.0.{self._number}:{port}" for port in (1, 2)]
        await self._leave.wait()
        yield []
        await asyncio.Event().wait()


async def test_hosts_of_several_discoveries_may_leave_together(caplog: pytest.LogCaptureFixture) -> None:
    leave = asyncio.Event()
    hosts = Hosts([_Changing(number, leave) for number in (1, 2)])
    hosts.start()
    try:
        async with asyncio.timeout(SECONDS):
            await hosts.wait_known()
        assert len(hosts.all) == 4
        leave.set()
        await until(lambda: not hosts.all, SECONDS, "they are forgotten")
        # The discoveries are still followed.
        assert not [task for task in hosts._tasks if task.done()]
    finally:
        await hosts.stop()
    assert "died" not in caplog.text


async def test_requests_wait_for_a_moment_only(tmp_path: Path) -> None:
    """So the frontend is ready for the same time, and at once where no host has been there."""
    put_simulated(tmp_path / "store", ["one"])
    async with fleet_of(f"127.0.0.1:{free_port()}", move_wait_seconds=SECONDS) as fleet:
        assert not fleet.takes_requests
    async with AsyncExitStack() as owned:
        async with hosting(tmp_path / "store") as host:
            fleet = await owned.enter_async_context(fleet_of(host.address, move_wait_seconds=SECONDS))
            brief = await owned.enter_async_context(fleet_of(host.address, move_wait_seconds=0.5))
        await until(lambda: not (fleet.has_ready_worker or brief.has_ready_worker), SECONDS, "it is lost")
        assert fleet.takes_requests
        await until(lambda: not brief.takes_requests, SECONDS, "the moment is over")


class _Listing:
    """Implements Discovery: yields what the test puts in."""

    def __init__(self) -> None:
        self.lists: asyncio.Queue[Sequence[str]] = asyncio.Queue()

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        while True:
            yield await self.lists.get()


async def test_models_of_a_host_that_gets_another_address_stay_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those of a pod that is being replaced, while other hosts are ready."""
    listing = _Listing()
    hosts = Hosts([listing])
    fleet = Fleet([], connect, LeastLoad(), QueueTable(512, 1.0), 0, hosts)
    await fleet.start()
    try:
        listing.lists.put_nowait(["127.0.0.1:1", "127.0.0.1:2"])
        await until(lambda: len(hosts.all) == 2, SECONDS, "they are known")
        models = [host_pb2.StoredModel(card=pb.Model(names=["one:latest"], manifest="sha256:1"))]
        send(hosts.all[0], host_pb2.HostState(id="a", stored=host_pb2.StoredModels(models=models)))
        send(hosts.all[1], host_pb2.HostState(id="b"))
        listing.lists.put_nowait(["127.0.0.1:2"])
        await until(lambda: len(hosts.all) == 1, SECONDS, "one is removed")
        assert fleet.find(name("one")) is not None
        assert not fleet.served()
        # A request waits for it.
        assert hosts.may_return("sha256:1", SECONDS)
        assert not hosts.may_return("sha256:1", 0)

        # It is forgotten after a while, also by a frontend that has looked for it before.
        with monkeypatch.context() as patch:
            patch.setattr(hosts_module, "_REMEMBERED_SECONDS", 0.0)
            send(hosts.all[0], host_pb2.HostState(id="b"))
            assert fleet.find(name("one")) is None

        # What only a host can do fails as for a host that is lost.
        monkeypatch.setattr(stores_module, "_AWAY_SECONDS", 0.0)
        async with stores_of(hosts) as stores:
            # So that a pull downloads it.
            assert stores.has(name("one").key)
            send(hosts.all[0], host_pb2.HostState(id="b"))
            for asking in (
                stores.describe("one", name("one").key, verbose=False),
                anext(stores.push("one", name("one").key, insecure=False)),
            ):
                with pytest.raises(NoWorkerReady, match="no worker host that has 'one'"):
                    await asking

        # It is back, and somebody has removed the model.
        send(hosts.all[0], host_pb2.HostState(id="a"))
        assert hosts.find(name("one").key) is None
        assert not hosts.may_return("sha256:1", SECONDS)
    finally:
        await fleet.stop()
