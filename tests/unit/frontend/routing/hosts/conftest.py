"""Fleets over real hosts in this process, with simulated models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.observability.request_record import SilentObserver
from frontend.routing.backends.connect import connect
from frontend.routing.discovery.static import Static
from frontend.routing.failover import FailoverObserver
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.hosts.removal_rows import RemovalRows
from frontend.routing.hosts.removals import LEASE_SECONDS, Removals
from frontend.routing.hosts.stores import HostStores
from frontend.routing.hosts.watched_host import WatchedHost
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.least_load import LeastLoad
from tests.support.hosts import hosting, put_simulated
from tests.unit.engine_worker.host.conftest import name

SECONDS = 30.0


@asynccontextmanager
async def fleet_of(
    *addresses: str, load_timeout_seconds: float = 0, move_wait_seconds: float = 1
) -> AsyncIterator[Fleet]:
    hosts = Hosts([Static(addresses)])
    queues = QueueTable(512, move_wait_seconds)
    fleet = Fleet([], connect, LeastLoad(), queues, 0, hosts, load_timeout_seconds)
    await fleet.start()
    try:
        await fleet.wait_for_workers(SECONDS)
        yield fleet
    finally:
        await fleet.stop()


@asynccontextmanager
async def stores_of(hosts: Hosts, url: str = "sqlite://") -> AsyncIterator[HostStores]:
    """`url`: of the database of what is removed; by default one in memory."""
    database = Database(parse_url(url), SECONDS)
    removals = Removals(RemovalRows(database, LEASE_SECONDS), hosts, 0.05)
    await removals.start(SECONDS)
    try:
        yield HostStores(hosts, removals)
    finally:
        await removals.stop()
        await database.close()


def send(host: WatchedHost, state: host_pb2.HostState) -> None:
    """As if the host had sent it."""
    host._take(state)
    host._publish()


async def generate(fleet: Fleet, model: str, observer: FailoverObserver | None = None) -> pb.Done:
    """Raises what the request fails with."""
    found = fleet.find(name(model))
    assert found is not None
    request = pb.GenerateRequest(raw="Hello", sampling=pb.Sampling(max_tokens=3))
    handle = fleet.submit(found, request, Ticket(), observer or SilentObserver())
    done: list[pb.Done] = []

    def sink(event: pb.GenerateEvent) -> None:
        if event.HasField("done"):
            done.append(event.done)

    async with asyncio.timeout(SECONDS):
        await handle.deliver(sink)
    return done[0]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """One host with memory for one of two models."""
    put_simulated(tmp_path / "store", ["one", "two"])
    put_simulated(tmp_path / "store", ["large"], memory_mib=300)
    put_simulated(tmp_path / "store", ["broken"], 100, "--no-such-flag", "1")
    async with hosting(tmp_path / "store") as host, fleet_of(host.address) as fleet:
        yield fleet
