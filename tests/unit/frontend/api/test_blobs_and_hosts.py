"""Uploads where worker hosts keep the files: to a host, and small ones here too, for adapters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
from tests.support.hosts import hosting
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of

SMALL, LARGE = b"small", b"large" * 100


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with hosting(tmp_path / "store") as host:
        hosts = Hosts([Static([host.address])])
        fleet = Fleet([], connect, LeastLoad(), QueueTable(512, 1.0), 0, hosts)
        settings = FrontendSettings(
            database_url=f"sqlite:///{tmp_path / 'own.sqlite3'}",
            max_blob_bytes=100,
            blob_lifetime_seconds=0.5,
            body_timeout_seconds=0.5,
        )
        async with (
            serving(build_app(settings, fleet, InFlightRequests(settings))) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
        ):
            await until(lambda: fleet.hosts.any_ready, 30, "the host is there")
            yield client


@pytest.mark.parametrize(("data", "later"), [(SMALL, 404), (LARGE, 200)])
async def test_a_small_file_that_only_the_host_still_has_is_taken_again(
    client: httpx.AsyncClient, data: bytes, later: int
) -> None:
    """Adapters are read from what frontends keep: a client that was not asked for it could never make one."""
    path = f"/api/blobs/{digest_of(data)}"
    assert (await client.post(path, content=data)).status_code == 201
    assert (await client.head(path)).status_code == 200

    async def is_as_later() -> bool:
        return (await client.head(path)).status_code == later

    await until(is_as_later, 30, "the blob has expired, or not")
    assert (await client.post(path, content=b"wrong")).status_code == (400 if later == 404 else 200)
    assert (await client.post(path, content=data)).status_code == (201 if later == 404 else 200)
    assert (await client.head(path)).status_code == 200


async def test_an_upload_that_stops_says_so(client: httpx.AsyncClient) -> None:
    # An HTTP client would wait for the rest of its own body.
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    head = f"POST /api/blobs/{digest_of(SMALL)} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    writer.write(head.encode() + SMALL[:2])
    try:
        async with asyncio.timeout(30):
            answer = await reader.readuntil(b"}")
    finally:
        writer.close()
    assert b"the body stopped for 0.5 seconds" in answer


async def _create(client: httpx.AsyncClient, **body: object) -> httpx.Response:
    return await client.post("/api/create", json={"model": "made", "stream": False, **body})


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("remote_host", "http://example.com", "remote_host"),
        ("requires", "99.0.0", "requires"),
        ("draft_files", {"a": digest_of(LARGE)}, "draft"),
        ("adapters", {"a": digest_of(LARGE)}, "adapters"),
        ("quantize", "q4_K_M", "quantization"),
    ],
)
async def test_what_a_model_of_files_cannot_have_is_refused(
    client: httpx.AsyncClient, field: str, value: object, words: str
) -> None:
    answer = await _create(client, files={"a.gguf": digest_of(LARGE)}, **{field: value})
    assert answer.status_code in (400, 500)
    assert words in answer.json()["error"]


async def test_a_preset_cannot_take_the_name_of_a_stored_model(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    write_sentencepiece_gguf(tmp_path / "tiny.gguf")
    data = (tmp_path / "tiny.gguf").read_bytes()
    assert (await client.post(f"/api/blobs/{digest_of(data)}", content=data)).status_code == 201
    assert (await _create(client, files={"a.gguf": digest_of(data)})).json() == {"status": "success"}
    refused = await _create(client, **{"from": "made", "system": "Be brief."})
    assert refused.status_code == 400
    assert "a worker host has a model of that name" in refused.json()["error"]
    assert (
        await client.post("/api/copy", json={"source": "made", "destination": "other"})
    ).status_code == 200
    assert (await client.request("DELETE", "/api/delete", json={"model": "made"})).status_code == 200
    names = [model["name"] for model in (await client.get("/api/tags")).json()["models"]]
    assert names == ["other:latest"]
