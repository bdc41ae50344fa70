"""Sessions of the console: login, logout, and what ends them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from drover.errors import StoreUnavailable
from frontend.access.console_session import COOKIE
from frontend.access.key import Role
from frontend.access.key_rows import KeyRows
from frontend.access.secret import digest_of, new_secret
from frontend.access.stored_key import Digest
from tests.support.access_keys import add_key, bearer, id_in, rows_of
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import Start
from tests.unit.frontend.api.preset_requests import worker
from tests.unit.frontend.console.conftest import CHAT, OWN, Event, log_in, state_events

WRONG = "drv_0123456789abcdef_" + "A" * 43


async def _read_to_end(events: AsyncIterator[Event]) -> None:
    async with asyncio.timeout(30):
        async for _ in events:
            pass


@pytest.mark.parametrize("name", ["bob", "bob_of_team_1", "Böb; from, here"])
async def test_a_plain_secret_of_a_file_can_log_in_until_it_changes(
    start: Start, url: str, tmp_path: Path, name: str
) -> None:
    file, plain = tmp_path / "keys.json", "of-another-system-1234"
    file.write_text(json.dumps([{"name": name, "secret": plain}]), encoding="utf-8")
    async with start(worker(), database_url=url, keys_file=str(file)) as frontend:
        assert (await log_in(frontend, plain)).json()["name"] == name
        cookie = {"cookie": f"{COOKIE}={frontend.client.cookies[COOKIE]}"}
        await frontend.client.post("/console/logout", json={}, headers=OWN)
        assert (await frontend.client.get("/console/models", headers=cookie)).status_code == 401
        await log_in(frontend, plain)
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
        answer = await log_in(frontend, secret)
        assert answer.json() == {"keys": True, "login": False, "role": "admin", "name": "alice"}
        cookie = answer.headers["set-cookie"]
        assert secret not in cookie
        assert secret.rpartition("_")[2] not in cookie
        for flag in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"):
            assert flag in cookie
        assert "Secure" not in cookie
        assert (await client.get("/console/session")).json()["name"] == "alice"
        async with state_events(frontend) as events:
            assert (await anext(events))[0] == "state"
        assert (await client.post("/console/chat", json=CHAT, headers=OWN)).status_code == 200
        listed = (await client.get("/console/keys")).json()["keys"]
        assert [(each["name"], each["state"]) for each in listed] == [("alice", "active")]
        assert "scrypt" not in json.dumps(listed)
        token = client.cookies[COOKIE]
        assert (await client.get("/api/tags", headers={"cookie": f"{COOKIE}={token}"})).status_code == 401
        gone = await client.post("/console/logout", json={}, headers=OWN)
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert (await client.get("/console/session")).json()["login"] is True


async def test_behind_tls_the_cookie_is_for_tls_only(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        answer = await log_in(frontend, secret, origin=f"https://127.0.0.1:{frontend.port}")
        assert answer.headers["set-cookie"].endswith("; Secure")


async def test_a_session_counts_on_every_frontend(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as one, start(worker(), database_url=url) as other:
        await log_in(one, secret)
        cookie = {"cookie": f"{COOKIE}={one.client.cookies[COOKIE]}"}
        assert (await other.client.get("/console/session", headers=cookie)).json()["name"] == "alice"


async def test_a_logout_ends_copies_of_the_cookie_on_every_frontend(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as one, start(worker(), database_url=url) as other:
        await log_in(other, secret)
        await log_in(one, secret)
        copy = {"cookie": f"{COOKIE}={one.client.cookies[COOKIE]}"}
        async with state_events(one) as events:
            await anext(events)
            await one.client.post("/console/logout", json={}, headers=OWN)
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
        await log_in(frontend, secret)
        copy = {"cookie": f"{COOKIE}={frontend.client.cookies[COOKIE]}"}
        monkeypatch.setattr(KeyRows, "end_session", unavailable)
        gone = await frontend.client.post("/console/logout", json={}, headers=OWN)
        assert "Max-Age=0" in gone.headers["set-cookie"]
        assert (await frontend.client.get("/console/models", headers=copy)).status_code == 401
    assert "a session ends on this frontend only" in caplog.text


@pytest.mark.parametrize("key", [WRONG, "nonsense", "drv_" + "x" * 3000])
async def test_a_wrong_key_is_refused_without_a_cookie(start: Start, url: str, key: str) -> None:
    await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        refused = await log_in(frontend, key)
        assert refused.status_code == 401
        assert "set-cookie" not in refused.headers
        assert key not in refused.text


@pytest.mark.parametrize("body", [b"", b"[]", b'{"key": 1}', b'{"key": " "}', b"{", b"\xff"])
async def test_a_login_without_a_key_is_a_bad_request(start: Start, url: str, body: bytes) -> None:
    await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        answer = await frontend.client.post("/console/login", content=body, headers=OWN)
        assert answer.status_code == 400
        long = await frontend.client.post("/console/login", content=b" " * 9000, headers=OWN)
        assert long.status_code == 413


async def test_altered_and_expired_sessions_do_not_count(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", role=Role.USER)
    other = await add_key(url, "root", role=Role.ADMIN)
    async with start(worker(), database_url=url) as frontend:
        await log_in(frontend, secret)
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
        await log_in(frontend, secret)
        async with state_events(frontend) as events:
            await anext(events)
            await _revoke(rows, id_in(secret))
            await _read_to_end(events)
        assert (await frontend.client.get("/console/events")).status_code == 401


async def test_the_first_key_closes_pages_that_were_open_without_one(start: Start, url: str) -> None:
    async with start(worker(), database_url=url) as frontend, state_events(frontend) as events:
        await anext(events)
        await add_key(url, "alice")
        await _read_to_end(events)
        assert (await frontend.client.get("/console/events")).status_code == 401


async def test_a_changed_key_closes_its_pages_to_see_its_new_part(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", role=Role.ADMIN)
    async with start(worker(), database_url=url) as frontend, rows_of(url) as rows:
        await log_in(frontend, secret)
        async with state_events(frontend) as events:
            await anext(events)
            await rows.change(id_in(secret), role=Role.USER)
            await _read_to_end(events)
        assert (await frontend.client.get("/console/session")).json()["role"] == "user"
        assert (await frontend.client.get("/console/keys")).status_code == 403


async def test_a_rotated_key_ends_its_sessions(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend, rows_of(url) as rows:
        await log_in(frontend, secret)
        async with state_events(frontend) as events:
            await anext(events)
            await rows.change(id_in(secret), digests=(Digest(text=digest_of(new_secret(id_in(secret)))),))
            await _read_to_end(events)
        assert (await frontend.client.get("/console/events")).status_code == 401


async def _revoke(rows: KeyRows, key_id: str) -> None:
    await rows.change(key_id, revoked_unix=1.0, digests=())


async def test_roles_see_their_part(start: Start, url: str) -> None:
    secrets = {role: await add_key(url, role.value, role=role) for role in Role}
    limited = await add_key(url, "limited", models=("other*",))
    async with start(worker(), database_url=url) as frontend:
        states: dict[str, dict[str, Any]] = {}
        for name, secret in [*secrets.items(), ("limited", limited)]:
            async with state_events(frontend, **bearer(secret)) as events:
                states[name] = (await anext(events))[1]
        assert [each["address"] for each in states[Role.METRICS]["workers"]] == ["fake:1"]
        assert [each["address"] for each in states[Role.USER]["workers"]] == ["worker 1"]
        assert states["limited"]["workers"] == []
        assert states["limited"]["models"] == []
        for role, status in ((Role.USER, 403), (Role.METRICS, 403), (Role.ADMIN, 200)):
            answer = await frontend.client.get("/console/keys", headers=bearer(secrets[role]))
            assert answer.status_code == status
        chat = await frontend.client.post(
            "/console/chat", json=CHAT, headers=OWN | bearer(secrets[Role.METRICS])
        )
        assert chat.status_code == 403
