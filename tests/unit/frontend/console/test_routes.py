"""The console's routes: files, live state and chat."""

from __future__ import annotations

import asyncio
import re

import pytest

from frontend.access.route_roles import CONSOLE_FILES
from tests.support.access_keys import add_key
from tests.support.processes import ROOT
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import worker
from tests.unit.frontend.console.conftest import CHAT, OWN, log_in, state_events

_STATIC = ROOT / "frontend" / "console" / "static"


async def test_files_confine_the_page_and_are_asked_for_once(start: Start) -> None:
    async with start(worker()) as frontend:
        page = await frontend.client.get("/console")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["referrer-policy"] == "no-referrer"
        again = await frontend.client.get("/console", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["content-security-policy"] == policy
        script = await frontend.client.get("/console/main.js")
        assert script.headers["content-type"].startswith("text/javascript")
        assert (await frontend.client.head("/console/console.css")).status_code == 200


async def test_without_the_setting_there_is_no_console(start: Start) -> None:
    async with start(worker(), console=False) as frontend:
        assert (await frontend.client.get("/console")).status_code == 404
        assert (await frontend.client.post("/console/chat", json=CHAT, headers=OWN)).status_code == 404


async def test_the_whole_state_comes_first_then_what_changed(start: Start) -> None:
    async with start(worker()) as frontend, state_events(frontend) as events:
        kind, state = await anext(events)
        assert kind == "state"
        assert set(state) == {"summary", "models", "workers", "hosts", "queue", "incidents", "points"}
        assert state["summary"]["ready"] == 1
        assert [each["address"] for each in state["workers"]] == ["fake:1"]
        await frontend.client.post("/api/chat", json=CHAT)
        async for kind, changed in events:
            assert kind == "update"
            if changed.get("summary", {}).get("requests") == 1:
                break
        assert "workers" not in changed or changed["workers"]


async def test_the_page_can_chat_and_other_pages_cannot(start: Start) -> None:
    async with start(worker()) as frontend:
        host = f"127.0.0.1:{frontend.port}"
        own = await frontend.client.post("/console/chat", json=CHAT, headers=OWN)
        assert (own.status_code, own.json()["done"]) == (200, True)
        others = [
            {},
            OWN | {"origin": "http://localhost:3000"},
            OWN | {"origin": f"http://{host}", "sec-fetch-site": "same-site"},
            OWN | {"sec-fetch-site": "cross-site"},
        ]
        for headers in others:
            refused = await frontend.client.post("/console/chat", json=CHAT, headers=headers)
            assert refused.status_code == 400, headers
            refused = await frontend.client.post("/console/login", json={"key": "x"}, headers=headers)
            assert refused.status_code == 400, headers
        same = await frontend.client.post(
            "/console/chat",
            json=CHAT,
            headers=OWN | {"origin": f"http://{host}", "sec-fetch-site": "same-origin"},
        )
        assert same.status_code == 200


async def test_no_preflight_allows_the_pages_header(start: Start) -> None:
    async with start(worker()) as frontend:
        answer = await frontend.client.options(
            "/console/chat",
            headers={
                "origin": "http://localhost:3000",
                "access-control-request-method": "POST",
                "access-control-request-headers": next(iter(OWN)),
            },
        )
        assert answer.status_code == 204
        assert next(iter(OWN)) not in answer.headers["access-control-allow-headers"].lower()


async def test_a_keys_limits_count_in_the_chat_too(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", requests_per_minute=1)
    async with start(worker(), database_url=url) as frontend:
        await log_in(frontend, secret)
        first = await frontend.client.post("/console/chat", json=CHAT, headers=OWN)
        second = await frontend.client.post("/console/chat", json=CHAT, headers=OWN)
        assert (first.status_code, second.status_code) == (200, 429)


async def test_too_many_streams_are_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.console.console._MAX_VIEWERS", 2)
    async with start(worker()) as frontend:
        async with state_events(frontend) as one, state_events(frontend) as two:
            await anext(one)
            await anext(two)
            refused = await frontend.client.get("/console/events")
            assert refused.status_code == 503
            assert "close one" in refused.json()["error"]

        async with asyncio.timeout(30):
            # The server notices a closed connection a moment later.
            statuses = [await _status(frontend)]
            while statuses[-1] == 503:
                statuses.append(await _status(frontend))
        assert statuses[-1] == 200


async def _status(frontend: Frontend) -> int:
    async with frontend.client.stream("GET", "/console/events") as response:
        return response.status_code


async def test_a_drain_ends_the_streams(start: Start) -> None:
    async with start(worker()) as frontend, state_events(frontend) as events:
        await anext(events)
        frontend.in_flight.draining = True
        async with asyncio.timeout(3):
            async for _ in events:
                pass
        assert (await frontend.client.get("/console/events")).status_code == 503


async def test_the_models_to_chat_with_are_listed(start: Start) -> None:
    async with start(worker()) as frontend:
        [model] = (await frontend.client.get("/console/models")).json()["models"]
        assert model["name"] == "m:latest"
        assert "completion" in model["capabilities"]


def test_every_file_of_the_page_is_served_and_needs_no_other_server() -> None:
    files = [each for each in _STATIC.iterdir() if each.is_file()]
    assert {each.name for each in files} == {"index.html", *CONSOLE_FILES}
    for each in files:
        text = each.read_text(encoding="utf-8")
        links = [link for link in re.findall(r"https?://[^\s\"']+", text) if "www.w3.org" not in link]
        assert links == [], each.name
        assert "innerHTML" not in text
