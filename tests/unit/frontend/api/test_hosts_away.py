"""What is seen of worker hosts: where models are, and what works while hosts are away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.routing.backends.connect import connect
from frontend.routing.discovery.static import Static
from frontend.routing.fleet import Fleet
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.least_load import LeastLoad
from frontend.settings import FrontendSettings
from tests.fakes.http_server import serving
from tests.support.access_keys import add_key, bearer
from tests.support.hosts import hosting, put_simulated
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of

SECONDS = 30.0
SMALL, LARGE = b"small", b"large" * 100

Start = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def _start(
    url: str, *addresses: str, move_wait_seconds: float = SECONDS
) -> AsyncIterator[httpx.AsyncClient]:
    hosts = Hosts([Static(addresses)])
    fleet = Fleet([], connect, LeastLoad(), QueueTable(512, move_wait_seconds), 0, hosts)
    settings = FrontendSettings(database_url=url, max_blob_bytes=100)
    async with (
        serving(build_app(settings, fleet, InFlightRequests(settings))) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as client,
    ):
        yield client


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'own.sqlite3'}"


@pytest.fixture
def start(database_url: str) -> Start:
    return partial(_start, database_url)


async def test_ps_says_which_hosts_have_a_model(start: Start, tmp_path: Path, database_url: str) -> None:
    put_simulated(tmp_path / "store", ["one"])
    async with hosting(tmp_path / "store") as host, start(host.address) as client:
        assert (await client.post("/api/generate", json={"model": "one", "keep_alive": "5m"})).is_success

        async def process(**headers: str) -> dict[str, object]:
            answer = await client.get("/api/ps", headers=headers)
            (found,) = answer.json()["models"]
            return dict(found)

        found = await process()
        copied = {field: found[field] for field in ("size", "size_vram", "expires_at")}
        assert found["hosts"] == [{"address": host.address, **copied}]

        # Addresses are the operator's.
        secrets = {role: await add_key(database_url, role, role=role) for role in ("user", "admin")}

        async def keys_count() -> bool:
            presented = [{}, *map(bearer, secrets.values())]
            answers = [(await client.get("/api/ps", headers=each)).status_code for each in presented]
            return answers == [401, 200, 200]

        await until(keys_count, SECONDS, "both keys count")
        assert "hosts" in await process(**bearer(secrets["admin"]))
        assert "hosts" not in await process(**bearer(secrets["user"]))


async def test_a_frontend_is_ready_while_requests_wait_for_its_host(start: Start, tmp_path: Path) -> None:
    """A load balancer that takes it out would refuse them."""
    put_simulated(tmp_path / "store", ["one"])

    async def is_unready() -> bool:
        return (await brief.get("/readyz")).status_code == 503

    async with hosting(tmp_path / "store") as host:
        address = host.address
        async with start(address) as client, start(address, move_wait_seconds=0.5) as brief:
            assert (await client.get("/readyz")).status_code == 200
            host.stop()
            await until(is_unready, SECONDS, "its requests would wait no longer")
            assert (await client.get("/readyz")).status_code == 200
    async with start(address) as never_there:
        assert (await never_there.get("/readyz")).status_code == 503


async def test_adapters_are_taken_while_all_hosts_are_away(start: Start) -> None:
    """Their models may have workers that are no host's. A model's own file cannot be taken here."""
    async with start("127.0.0.1:1") as client:
        path = f"/api/blobs/{digest_of(SMALL)}"
        assert (await client.head(path)).status_code == 404
        assert (await client.post(path, content=SMALL)).status_code == 201
        assert (await client.head(path)).status_code == 200
        assert (await client.post(path, content=SMALL)).status_code == 200
        answer = await client.post(f"/api/blobs/{digest_of(LARGE)}", content=LARGE)
        assert answer.status_code == 503
        assert "no worker host can be reached" in answer.json()["error"]


async def test_a_model_that_only_a_host_away_has_can_be_removed(start: Start, tmp_path: Path) -> None:
    put_simulated(tmp_path / "store", ["one", "two"])

    async def names(client: httpx.AsyncClient) -> list[str]:
        return [each["name"] for each in (await client.get("/api/tags")).json()["models"]]

    async def is_away() -> bool:
        answer = await client.post("/api/pull", json={"model": "x", "stream": False})
        return answer.status_code == 503

    async def is_followed() -> bool:
        return await names(other) == ["two:latest"]

    async with (
        hosting(tmp_path / "store", "--sources", "none") as host,
        start(host.address) as client,
        start(host.address) as other,
    ):
        host.stop()
        await until(is_away, SECONDS, "it is away")
        for expected in (200, 404):
            answer = await client.request("DELETE", "/api/delete", json={"model": "one"})
            assert answer.status_code == expected
        assert await names(client) == ["two:latest"]
        await until(is_followed, SECONDS, "another frontend of the database does not list it, either")
