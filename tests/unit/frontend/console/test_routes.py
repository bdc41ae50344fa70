"""The console's routes: files, live state, login and chat, with keys and without."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from drover.errors import StoreUnavailable
from frontend.access.console_session import COOKIE
from frontend.access.key import Role
from frontend.access.key_rows import KeyRows
from frontend.access.route_roles import CONSOLE_FILES
from frontend.access.secret import digest_of, new_secret
from frontend.access.stored_key import Digest
from tests.support.access_keys import add_key, bearer, id_in, rows_of
from tests.support.processes import ROOT
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, worker

Event = tuple[str, dict[str, Any]]
_STATIC = ROOT / "frontend" / "console" / "static"
_OWN = {"x-console-page": "1"}
_CHAT = {"model": "m", "messages": HELLO, "stream": False}
_WRONG = "drv_0123456789abcdef_" + "A" * 43


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


@asynccontextmanager
async def _events(frontend: Frontend, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
    async with frontend.client.stream("GET", "/console/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _parsed(response)


async def _parsed(response: httpx.Response) -> AsyncIterator[Event]:
    kind = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


async def _log_in(frontend: Frontend, key: str, **headers: str) -> httpx.Response:
    return await frontend.client.post("/console/login", json={"key": key}, headers=_OWN | headers)


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
        assert (await frontend.client.post("/console/chat", json=_CHAT, headers=_OWN)).status_code == 404


async def test_the_whole_state_comes_first_then_what_changed(start: Start) -> None:
    async with start(worker()) as frontend, _events(frontend) as events:
        kind, state = await anext(events)
        assert kind == "state"
        assert set(state) == {"summary", "models", "workers", "hosts", "queue", "incidents", "points"}
        assert state["summary"]["ready"] == 1
        assert [each["address"] for each in state["workers"]] == ["fake:1"]
        await frontend.client.post("/api/chat", json=_CHAT)
        async for kind, changed in events:
            assert kind == "update"
            if changed.get("summary", {}).get("requests") == 1:
                break
        assert "workers" not in changed or changed["workers"]


async def test_the_page_can_chat_and_other_pages_cannot(start: Start) -> None:
    async with start(worker()) as frontend:
        host = f"127.0.0.1:{frontend.port}"
        own = await frontend.client.post("/console/chat", json=_CHAT, headers=_OWN)
        assert (own.status_code, own.json()["done"]) == (200, True)
        others = [
            {},
            _OWN | {"origin": "http://localhost:3000"},
            _OWN | {"origin": f"http://{host}", "sec-fetch-site": "same-site"},
            _OWN | {"sec-fetch-site": "cross-site"},
        ]
        for headers in others:
            refused = await frontend.client.post("/console/chat", json=_CHAT, headers=headers)
            assert refused.status_code == 400, headers
            refused = await frontend.client.post("/console/login", json={"key": "x"}, headers=headers)
            assert refused.status_code == 400, headers
        same = await frontend.client.post(
            "/console/chat",
            json=_CHAT,
            headers=_OWN | {"origin": f"http://{host}", "sec-fetch-site": "same-origin"},
        )
        assert same.status_code == 200


@pytest.mark.parametrize("name", ["bob", "bob_of_team_1", "Böb; from, here"])
async def test_a_plain_secret_of_a_file_can_log_in_until_it_changes(
    start: Start, url: str, tmp_path: Path, name: str
) -> None:
    file, plain = tmp_path / "keys.json", "of-another-system-1234"
    file.write_text(json.dumps([{"name": name, "secret": plain}]), encoding="utf-8")
    async with start(worker(), database_url=url, keys_file=str(file)) as frontend:
        assert (await _log_in(frontend, plain)).json()["name"] == name
        cookie = {"cookie": f"{COOKIE}={frontend.client.cookies[COOKIE]}"}
        await frontend.client.post("/console/logout", json={}, headers=_OWN)
        assert (await frontend.client.get("/console/models", headers=cookie)).status_code == 401
        await _log_in(frontend, plain)
        assert (await frontend.client.get("/console/models")).status_code == 200
        file.write_text(json.dumps([{"name": name, "secret": f"{plain}-5"}]), encoding="utf-8")

        async def is_logged_out() -> bool:
            return (await frontend.client.get("/console/models")).status_code == 401

        await until(is_logged_out, 2.0, "a session ends with its secret")


async def test_a_login_gives_a_cookie_that_counts_for_the_console_alone(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", role=Role.ADMIN)
    async with start(worker(), database_url=url) as frontend:
        client = frontend.client
        assert (await client.get("/console/session")).json() == {"keys": True, "login": True}
        assert (await client.get("/console/events")).status_code == 401
        answer = await _log_in(frontend, secret)
        assert answer.json() == {"keys": True, "login": False, "role": "admin", "name": "alice"}
        cookie = answer.headers["set-cookie"]
        assert secret not in cookie
        assert secret.rpartition("_")[2] not in cookie
        for flag in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"):
            assert flag in cookie
        assert "Secure" not in cookie
        assert (await client.get("/console/session")).json()["name"] == "alice"
        async with _events(frontend) as events:
            assert (await anext(events))[0] == "state"
        assert (await client.post("/console/chat", json=_CHAT, headers=_OWN)).status_code == 200
        listed = (await client.get("/console/keys")).json()["keys"]
        assert [(each["name"], each["state"]) for each in listed] == [("alice", "active")]
        assert "scrypt" not in json.dumps(listed)
        token = client.cookies[COOKIE]
        assert (await client.get("/api/tags", headers={"cookie": f"{COOKIE}={token}"})).status_code == 401
        gone = await client.post("/console/logout", json={}, headers=_OWN)
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert (await client.get("/console/session")).json()["login"] is True


async def test_no_preflight_allows_the_pages_header(start: Start) -> None:
    async with start(worker()) as frontend:
        answer = await frontend.client.options(
            "/console/chat",
            headers={
                "origin": "http://localhost:3000",
                "access-control-request-method": "POST",
                "access-control-request-headers": next(iter(_OWN)),
            },
        )
        assert answer.status_code == 204
        assert next(iter(_OWN)) not in answer.headers["access-control-allow-headers"].lower()


async def test_a_keys_limits_count_in_the_chat_too(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", requests_per_minute=1)
    async with start(worker(), database_url=url) as frontend:
        await _log_in(frontend, secret)
        first = await frontend.client.post("/console/chat", json=_CHAT, headers=_OWN)
        second = await frontend.client.post("/console/chat", json=_CHAT, headers=_OWN)
        assert (first.status_code, second.status_code) == (200, 429)


async def test_behind_tls_the_cookie_is_for_tls_only(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        answer = await _log_in(frontend, secret, origin=f"https://127.0.0.1:{frontend.port}")
        assert answer.headers["set-cookie"].endswith("; Secure")


async def test_a_session_counts_on_every_frontend(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as one, start(worker(), database_url=url) as other:
        await _log_in(one, secret)
        cookie = {"cookie": f"{COOKIE}={one.client.cookies[COOKIE]}"}
        assert (await other.client.get("/console/session", headers=cookie)).json()["name"] == "alice"


async def test_a_logout_ends_copies_of_the_cookie_on_every_frontend(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as one, start(worker(), database_url=url) as other:
        await _log_in(other, secret)
        await _log_in(one, secret)
        copy = {"cookie": f"{COOKIE}={one.client.cookies[COOKIE]}"}
        async with _events(one) as events:
            await anext(events)
            await one.client.post("/console/logout", json={}, headers=_OWN)
            assert (await one.client.get("/console/models", headers=copy)).status_code == 401
            async for _ in events:
                pass

        async def is_ended() -> bool:
            return (await other.client.get("/console/models", headers=copy)).status_code == 401

        await until(is_ended, 2.0, "the other frontend refuses it")
        # The key's other sessions stay.
        assert (await other.client.get("/console/models")).status_code == 200


async def test_a_logout_without_the_database_ends_the_session_here(
    start: Start, url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("the database is away")

    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        await _log_in(frontend, secret)
        copy = {"cookie": f"{COOKIE}={frontend.client.cookies[COOKIE]}"}
        monkeypatch.setattr(KeyRows, "end_session", unavailable)
        gone = await frontend.client.post("/console/logout", json={}, headers=_OWN)
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert (await frontend.client.get("/console/models", headers=copy)).status_code == 401
    assert "a session ends on this frontend only" in caplog.text


@pytest.mark.parametrize("key", [_WRONG, "nonsense", "drv_" + "x" * 3000])
async def test_a_wrong_key_is_refused_without_a_cookie(start: Start, url: str, key: str) -> None:
    await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        refused = await _log_in(frontend, key)
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
        assert key not in refused.text


@pytest.mark.parametrize("body", [b"", b"[]", b'{"key": 1}', b'{"key": " "}', b"{", b"\xff"])
async def test_a_login_without_a_key_is_a_bad_request(start: Start, url: str, body: bytes) -> None:
    await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        answer = await frontend.client.post("/console/login", content=body, headers=_OWN)
        assert answer.status_code == 400
        long = await frontend.client.post("/console/login", content=b" " * 9000, headers=_OWN)
        assert long.status_code == 413


async def test_altered_and_expired_sessions_do_not_count(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", role=Role.USER)
    other = await add_key(url, "root", role=Role.ADMIN)
    async with start(worker(), database_url=url) as frontend:
        await _log_in(frontend, secret)
        key_id, expires, session_id, signature = frontend.client.cookies[COOKIE].split("_")
        signed = f"{session_id}_{signature}"
        frontend.client.cookies.clear()
        for altered in (
            f"{id_in(other)}_{expires}_{signed}",
            f"{key_id}_{int(expires) + 1}_{signed}",
            f"{key_id}_1_{signed}",
            f"{key_id}_{expires}_{'0' * len(session_id)}_{signature}",
            f"{key_id}_{expires}_{signature}",
            f"{key_id}_{expires}_{session_id}_",
            f"{key_id}_{expires}_{session_id}_{'0' * 64}",
            "é" * 40,
            "_" * 5000,
        ):
            headers = {b"cookie": f"{COOKIE}={altered}".encode()}
            answer = await frontend.client.get("/console/events", headers=headers)
            assert answer.status_code == 401, altered


async def test_a_revoked_key_ends_its_sessions_and_open_streams(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend, rows_of(url) as rows:
        await _log_in(frontend, secret)
        async with _events(frontend) as events:
            await anext(events)
            await _revoke(rows, id_in(secret))
            async with asyncio.timeout(5):
                async for _ in events:
                    pass
        assert (await frontend.client.get("/console/events")).status_code == 401


async def test_the_first_key_closes_pages_that_were_open_without_one(start: Start, url: str) -> None:
    async with start(worker(), database_url=url) as frontend, _events(frontend) as events:
        await anext(events)
        await add_key(url, "alice")
        async with asyncio.timeout(5):
            async for _ in events:
                pass
        assert (await frontend.client.get("/console/events")).status_code == 401


async def test_a_changed_key_closes_its_pages_to_see_its_new_part(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", role=Role.ADMIN)
    async with start(worker(), database_url=url) as frontend, rows_of(url) as rows:
        await _log_in(frontend, secret)
        async with _events(frontend) as events:
            await anext(events)
            await rows.change(id_in(secret), role=Role.USER)
            async with asyncio.timeout(5):
                async for _ in events:
                    pass
        assert (await frontend.client.get("/console/session")).json()["role"] == "user"
        assert (await frontend.client.get("/console/keys")).status_code == 403


async def test_a_rotated_key_ends_its_sessions(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend, rows_of(url) as rows:
        await _log_in(frontend, secret)
        async with _events(frontend) as events:
            await anext(events)
            await rows.change(id_in(secret), digests=(Digest(text=digest_of(new_secret(id_in(secret)))),))
            async with asyncio.timeout(5):
                async for _ in events:
                    pass
        assert (await frontend.client.get("/console/events")).status_code == 401


async def _revoke(rows: KeyRows, key_id: str) -> None:
    await rows.change(key_id, revoked_unix=1.0, digests=())


async def test_roles_see_their_part(start: Start, url: str) -> None:
    secrets = {role: await add_key(url, role.value, role=role) for role in Role}
    limited = await add_key(url, "limited", models=("other*",))
    async with start(worker(), database_url=url) as frontend:
        states: dict[str, dict[str, Any]] = {}
        for name, secret in [*secrets.items(), ("limited", limited)]:
            async with _events(frontend, **bearer(secret)) as events:
                states[name] = (await anext(events))[1]
        assert [each["address"] for each in states[Role.METRICS]["workers"]] == ["fake:1"]
        assert [each["address"] for each in states[Role.USER]["workers"]] == ["worker 1"]
        assert states["limited"]["workers"] == []
        assert states["limited"]["models"] == []
        for role, status in ((Role.USER, 403), (Role.METRICS, 403), (Role.ADMIN, 200)):
            answer = await frontend.client.get("/console/keys", headers=bearer(secrets[role]))
            assert answer.status_code == status
        chat = await frontend.client.post(
            "/console/chat", json=_CHAT, headers=_OWN | bearer(secrets[Role.METRICS])
        )
        assert chat.status_code == 403


async def test_too_many_streams_are_refused(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.console.console._MAX_VIEWERS", 2)
    async with start(worker()) as frontend:
        async with _events(frontend) as one, _events(frontend) as two:
            await anext(one)
            await anext(two)
            refused = await frontend.client.get("/console/events")
            assert refused.status_code == 503
            assert "close one" in refused.json()["error"]

        async with asyncio.timeout(5):
            # The server notices a closed connection a moment later.
            statuses = [await _status(frontend)]
            while statuses[-1] == 503:
                statuses.append(await _status(frontend))
        assert statuses[-1] == 200


async def _status(frontend: Frontend) -> int:
    async with frontend.client.stream("GET", "/console/events") as response:
        return response.status_code


async def test_a_drain_ends_the_streams(start: Start) -> None:
    async with start(worker()) as frontend, _events(frontend) as events:
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
