"""A frontend over a worker that stalls, behind a real HTTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.settings import FrontendSettings
from tests.fakes.fleets import fleet_of
from tests.fakes.http_server import serving
from tests.fakes.stalling_worker import StallingHandle, StallingWorker
from tests.support.waiting import until

DEADLINE_SECONDS = 30.0


@dataclass
class Frontend:
    port: int
    worker: StallingWorker
    client: httpx.AsyncClient
    in_flight: InFlightRequests

    async def handle(self) -> StallingHandle:
        """The request that the worker has got."""
        await until(lambda: bool(self.worker.handles), DEADLINE_SECONDS, "the worker gets the request")
        return self.worker.handles[-1]


Start = Callable[..., AbstractAsyncContextManager[Frontend]]


@asynccontextmanager
async def _start(
    folder: Path, worker: StallingWorker, *others: StallingWorker, max_waiting: int = 0, **settings: object
) -> AsyncIterator[Frontend]:
    """`others`: further workers, at addresses of their own."""
    fleet = fleet_of(worker, *others, max_waiting=max_waiting)
    # A busy disk is no outage: nothing here waits for the timeout of a database.
    own = {"database_url": f"sqlite:///{folder / 'presets.sqlite3'}", "database_timeout_seconds": 60}
    set_up = FrontendSettings(**{**own, **settings})  # type: ignore[arg-type] # its fields by their names
    in_flight = InFlightRequests(set_up)
    app = build_app(set_up, fleet, in_flight)
    async with (
        serving(app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_SECONDS) as client,
    ):
        if worker.refusal is None:
            await until(lambda: fleet.has_ready_worker, DEADLINE_SECONDS, "the worker is ready")
        yield Frontend(port, worker, client, in_flight)


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return partial(_start, tmp_path)


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(StallingWorker()) as frontend:
        yield frontend
