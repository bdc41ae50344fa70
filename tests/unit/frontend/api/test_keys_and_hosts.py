"""A client's key stays with the frontend: an Ollama server that is a worker does not get it."""

from __future__ import annotations

import json
from pathlib import Path

from starlette.types import Receive, Scope, Send

from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.routing.backends.ollama.worker import OllamaWorker
from frontend.settings import FrontendSettings
from tests.fakes.fleets import fleet_of
from tests.fakes.http_server import serving
from tests.support.access_keys import add_key, bearer
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import Start
from tests.unit.frontend.api.preset_requests import HELLO, worker


async def test_an_ollama_host_gets_no_key_of_a_client(start: Start, tmp_path: Path) -> None:
    seen: list[tuple[str, dict[bytes, bytes]]] = []
    url = f"sqlite:///{tmp_path / 'host.sqlite3'}"
    settings = FrontendSettings(database_url=url)
    host = build_app(settings, fleet_of(worker()), InFlightRequests(settings))

    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.append((scope["path"], dict(scope["headers"])))
        await host(scope, receive, send)

    own = f"sqlite:///{tmp_path / 'own.sqlite3'}"
    secret = await add_key(own, "alice")
    async with serving(recording) as port:
        hosted = OllamaWorker(f"ollama:http://127.0.0.1:{port}/m#hosted")
        async with start(worker(), hosted, database_url=own) as frontend:

            async def is_there() -> bool:
                return "hosted" in (await frontend.client.get("/api/tags", headers=bearer(secret))).text

            await until(is_there, 30, "the host's model is listed")
            for headers in (bearer(secret), {"x-api-key": secret}):
                body = json.dumps({"model": "hosted", "messages": HELLO, "stream": False})
                answer = await frontend.client.post("/api/chat", content=body, headers=headers)
                assert (answer.status_code, answer.json()["message"]["content"]) == (200, "hi")
    assert [path for path, _ in seen].count("/api/chat") == 2
    for _, got in seen:
        assert not got.keys() & {b"authorization", b"x-api-key", b"cookie"}
        assert secret.encode() not in b" ".join(got.values())
