"""What a real Ollama answered to pages and hosts, against the whole application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.settings import FrontendSettings
from tests.contract.recorded import Recorded, replayed
from tests.fakes.fleets import fleet_of
from tests.fakes.http_server import serving
from tests.fakes.stalling_worker import StallingWorker

_CASES = ("origin ", "preflight", "host ", "bearer ")
# Of the connection, our own, or not recorded (`Allow`: tests/contract/test_differing.py).
_OTHERS = {"date", "content-length", "transfer-encoding", "x-request-id", "allow"}
_ROUTES = ["/", "/api/tags", "/healthz", "/readyz", "/nope", "/openapi.json"]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    worker = StallingWorker()
    settings = FrontendSettings(database_url=f"sqlite:///{tmp_path / 'presets.sqlite3'}")
    app = build_app(settings, fleet_of(worker), InFlightRequests(settings))
    async with (
        serving(app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


def _headers(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _OTHERS}


@pytest.mark.parametrize("recorded", [each for each in replayed() if each.case.startswith(_CASES)], ids=str)
async def test_the_response_equals_the_recorded_one(client: httpx.AsyncClient, recorded: Recorded) -> None:
    answer = await client.request(recorded.method, recorded.path, headers=recorded.headers)

    assert answer.status_code == recorded.status
    assert _headers(answer) == recorded.answer_headers
    plain = await client.request(recorded.method, recorded.path)
    assert answer.text == (plain.text if recorded.status == 200 else recorded.answer)


def test_all_recordings_are_present() -> None:
    assert sum(each.case.startswith(_CASES) for each in replayed()) == 10


@pytest.mark.parametrize("path", _ROUTES)
@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
async def test_the_rules_hold_on_every_route(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await client.get(path, headers=headers)

    assert (answer.status_code, answer.content) == (403, b"")


async def test_a_page_may_read_errors_too(client: httpx.AsyncClient) -> None:
    page = {"origin": "http://localhost:3000"}

    for answer in (await client.get("/nope", headers=page), await client.get("/api/chat", headers=page)):
        assert answer.status_code in (404, 405)
        assert answer.headers["access-control-allow-origin"] == page["origin"]


async def test_a_rebound_name_is_refused_though_its_page_calls_its_own_host(
    client: httpx.AsyncClient,
) -> None:
    headers = {"host": "evil.example:11434", "origin": "http://evil.example:11434"}

    answer = await client.post("/api/chat", headers=headers, json={"model": "m"})

    assert (answer.status_code, answer.content) == (403, b"")


async def test_the_connection_stays_open_after_a_refusal(client: httpx.AsyncClient) -> None:
    evil = {"origin": "https://evil.example"}

    refused = await client.post("/api/chat", headers=evil, content=b"x" * 300_000)

    assert refused.status_code == 403
    assert (await client.get("/api/version")).status_code == 200
