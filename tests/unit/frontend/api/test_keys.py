"""Who may use which route, with keys and without."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute

from drover import logs
from frontend.access.key import Role
from frontend.access.key_rows import KeyRows
from frontend.access.route_roles import ROUTES, Access, check_complete
from frontend.access.secret import digest_of, new_secret
from frontend.access.stored_key import Digest
from frontend.api.ollama import server
from frontend.http.routes import routes_of
from frontend.settings import FrontendSettings
from tests.support.access_keys import add_key, bearer, id_in, rows_of
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, post, worker
from tests.unit.frontend.openapi.documented import OPERATIONS

_CHAT = {"model": "m", "messages": HELLO, "stream": False}
_WRONG = "drv_0123456789abcdef_" + "A" * 43


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


def _concrete(path: str) -> str:
    return re.sub(r"{[^}]*}", "x", path)


async def _send(frontend: Frontend, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    body = b"{" if method == "POST" else None
    async with frontend.client.stream(method, path, content=body, headers=headers) as response:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            await response.aread()
    return response


def _verdict(response: httpx.Response) -> int:
    """401 or 403 where the key is the reason, 0 where the route was reached: some refuse by themselves."""
    if response.status_code == 401 and "www-authenticate" in response.headers:
        return 401
    return 403 if response.status_code == 403 and "has the role" in response.text else 0


async def test_a_route_allows_what_the_table_says(start: Start, url: str) -> None:
    secrets = {role: await add_key(url, role.value, role=role) for role in Role}
    # The console's routes are not in the document.
    routes = [(method.upper(), path) for path, method, _ in OPERATIONS] + [
        route for route in ROUTES if route[1].startswith("/console")
    ]
    async with start(worker(), database_url=url) as frontend:

        async def scan(headers: dict[str, str]) -> dict[tuple[str, str], int]:
            answers = await asyncio.gather(
                *(_send(frontend, method, _concrete(path), headers) for method, path in routes)
            )
            # A HEAD has no text to tell a reason by.
            return {
                route: answer.status_code if route[0] == "HEAD" and answer.status_code == 403 else verdict
                for route, answer in zip(routes, answers, strict=True)
                for verdict in [_verdict(answer)]
            }

        without, wrong = await scan({}), await scan(bearer(_WRONG))
        by_role = {role: await scan(bearer(secret)) for role, secret in secrets.items()}
    table = {(method, path.replace(":path}", "}")): access for (method, path), access in ROUTES.items()}
    assert set(table) == set(routes)
    for route, access in table.items():
        refused = 0 if access is Access.OPEN else 401
        assert (route, without[route], wrong[route]) == (route, refused, refused)
        for role in Role:
            assert (route, role, by_role[role][route]) == (route, role, 0 if access.allows(role) else 403)


@pytest.mark.parametrize(
    ("access", "roles"),
    [
        (Access.OPEN, "user admin metrics"),
        (Access.ANY, "user admin metrics"),
        (Access.USER, "user admin"),
        (Access.METRICS, "admin metrics"),
        (Access.ADMIN, "admin"),
    ],
)
def test_an_access_allows_these_roles(access: Access, roles: str) -> None:
    assert {role for role in Role if access.allows(role)} == {Role(each) for each in roles.split()}


def test_the_application_does_not_start_with_a_route_that_is_not_in_the_table() -> None:
    routes = routes_of([server.router(FrontendSettings())])
    check_complete(routes)
    new = APIRoute("/new", lambda: None, methods=["GET"])
    with pytest.raises(ValueError, match="/new"):
        check_complete([*routes, new])


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/v1/nothing", "/api/tags/", "/metrics/x"])
async def test_an_unknown_path_needs_a_key_too(start: Start, url: str, path: str) -> None:
    secret = await add_key(url, "alice", role=Role.METRICS)
    async with start(worker(), database_url=url) as frontend:
        assert (await frontend.client.get(path)).status_code == 401
        known = await frontend.client.get(path, headers=bearer(secret))
        assert known.status_code in (301, 404)


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/api/chat", {"error": str}),
        ("/v1/systemone", {"error": str}),
        ("/v1/chat/completions", {"error": {"message": str, "type": str, "param": None, "code": str}}),
        ("/v1/responses", {"error": {"message": str, "type": str, "param": None, "code": str}}),
        ("/v1/messages", {"type": str, "error": {"type": str, "message": str}, "request_id": str}),
        ("/v2/rerank", {"message": str}),
    ],
)
async def test_refusals_have_the_dialects_form(
    start: Start, url: str, path: str, form: dict[str, object]
) -> None:
    secret = await add_key(url, "watcher", role=Role.METRICS)
    async with start(worker(), database_url=url) as frontend:
        missing = await post(frontend, path, **_CHAT)
        forbidden = await frontend.client.post(path, content=b"{}", headers=bearer(secret))
    assert [missing.status_code, forbidden.status_code] == [401, 403]
    assert missing.headers["www-authenticate"].startswith("Bearer ")
    assert missing.headers["x-should-retry"] == forbidden.headers["x-should-retry"] == "false"
    for response, kind, code in (
        (missing, "authentication_error", "invalid_api_key"),
        (forbidden, "permission_error", "insufficient_permissions"),
    ):
        assert _has_form(response.json(), form), response.json()
        if path == "/v1/messages":
            assert response.json()["error"]["type"] == kind
        if path in ("/v1/responses", "/v1/chat/completions"):
            assert response.json()["error"]["code"] == code


def _has_form(value: object, form: object) -> bool:
    if isinstance(form, dict):
        return (
            isinstance(value, dict)
            and value.keys() == form.keys()
            and all(_has_form(value[name], part) for name, part in form.items())
        )
    return value is None if form is None else isinstance(value, form)  # type: ignore[arg-type]


def _ways(secret: str) -> Sequence[dict[str, str]]:
    basic = b64encode(f"anybody:{secret}".encode()).decode()
    return [
        bearer(secret),
        {"x-api-key": secret},
        {"authorization": f"Basic {basic}"},
        {"authorization": "Bearer ollama", "x-api-key": secret},
        {"authorization": f"Bearer {secret}", "x-api-key": "none"},
    ]


async def test_a_key_is_accepted_in_each_of_its_places(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        for headers in _ways(secret):
            answer = await frontend.client.post("/api/chat", content=json.dumps(_CHAT), headers=headers)
            assert (headers, answer.status_code) == (headers, 200)
        for headers in _ways(secret[:-1] + ("A" if secret[-1] != "A" else "B")):
            answer = await frontend.client.post("/api/chat", content=json.dumps(_CHAT), headers=headers)
            assert (headers, answer.status_code) == (headers, 401)


async def _status(frontend: Frontend, secret: str) -> int:
    return (await frontend.client.get("/api/tags", headers=bearer(secret))).status_code


async def test_keys_are_required_from_the_first_one_on_and_for_ever(start: Start, url: str) -> None:
    async with start(worker(), database_url=url) as frontend:
        assert (await frontend.client.get("/api/tags")).status_code == 200
        secret = await add_key(url, "alice")

        async def is_closed() -> bool:
            return (await frontend.client.get("/api/tags")).status_code == 401

        await until(is_closed, 2.0, "a key counts within two seconds")
        assert await _status(frontend, secret) == 200
        async with rows_of(url) as rows:
            await rows.change(id_in(secret), revoked_unix=1.0, digests=())

        async def is_revoked() -> bool:
            return await _status(frontend, secret) == 401

        await until(is_revoked, 2.0, "a revocation counts within two seconds")
        assert await is_closed()
    async with start(worker(), database_url=url) as frontend:
        assert (await frontend.client.get("/api/tags")).status_code == 401


async def test_require_keys_refuses_everything_until_there_is_one(start: Start, url: str) -> None:
    async with start(worker(), database_url=url, require_keys=True) as frontend:
        assert (await frontend.client.get("/api/tags")).status_code == 401
        assert await _status(frontend, _WRONG) == 401
        assert (await frontend.client.get("/")).text == "Ollama is running"
        secret = await add_key(url, "alice")

        async def is_known() -> bool:
            return await _status(frontend, secret) == 200

        await until(is_known, 2.0, "a key counts within two seconds")


async def test_an_expired_key_is_refused_by_name(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", expires_unix=1.0)
    async with start(worker(), database_url=url) as frontend:
        answer = await frontend.client.get("/api/tags", headers=bearer(secret))
    assert answer.status_code == 401
    assert "'alice' expired at 1970-01-01 00:00 UTC" in answer.json()["error"]


async def test_a_database_that_never_answered_leaves_only_loopback_open(start: Start) -> None:
    nowhere = {"database_url": "postgresql://user@127.0.0.1:1/nothing"}
    async with start(worker(), listen="0.0.0.0:0", **nowhere) as frontend:
        answer = await frontend.client.get("/api/ps")
        assert (answer.status_code, "keys cannot be read" in answer.text) == (503, True)
        assert await _status(frontend, _WRONG) == 503
    async with start(worker(), trusted_proxies=["127.0.0.1"], **nowhere) as frontend:
        # Through the proxy everybody comes from loopback.
        assert (await frontend.client.get("/api/ps")).status_code == 503
    async with start(worker(), **nowhere) as frontend:
        assert (await frontend.client.get("/api/ps")).status_code == 200
    async with start(worker(), require_keys=True, **nowhere) as frontend:
        assert (await frontend.client.get("/api/ps")).status_code == 401
        assert await _status(frontend, _WRONG) == 503


async def test_known_keys_work_while_the_database_is_away(
    start: Start, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:

        async def fail(*_: object) -> None:
            raise OSError("away")

        monkeypatch.setattr(KeyRows, "after", fail)
        assert await _status(frontend, secret) == 200
        assert await _status(frontend, _WRONG) == 401


async def test_a_preflight_needs_no_key_and_pages_can_read_a_refusal(start: Start, url: str) -> None:
    await add_key(url, "alice")
    origin = {"origin": "http://localhost:3000"}
    async with start(worker(), database_url=url) as frontend:
        asked = {**origin, "access-control-request-method": "POST"}
        preflight = await frontend.client.options("/api/chat", headers=asked)
        assert preflight.status_code == 204
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        refused = await frontend.client.get("/api/tags", headers=origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin["origin"])


async def test_a_refusal_takes_the_same_time_for_known_and_unknown_ids(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    wrong = f"drv_{id_in(secret)}_{'A' * 43}"
    async with start(worker(), database_url=url) as frontend:
        for presented in (_WRONG, wrong, secret.upper(), "x", wrong):
            began = time.monotonic()
            assert await _status(frontend, presented) == 401
            assert time.monotonic() - began >= 0.25


async def test_the_keys_id_is_the_client_also_after_a_rotation(start: Start, url: str) -> None:
    """Stored responses belong to the key, whatever its secret is."""
    old, other = await add_key(url, "alice"), await add_key(url, "bob")
    settings = {"database_url": url, "store_responses": True}
    async with start(worker(), **settings) as frontend:
        stored = await frontend.client.post(
            "/v1/responses", json={"model": "m", "input": "hi"}, headers=bearer(old)
        )
        path = f"/v1/responses/{stored.json()['id']}"
        assert (await frontend.client.get(path, headers=bearer(old))).status_code == 200
        assert (await frontend.client.get(path, headers=bearer(other))).status_code == 404
        new = new_secret(id_in(old))
        async with rows_of(url) as rows:
            await rows.change(id_in(old), digests=(Digest(text=digest_of(new)),))

        async def is_rotated() -> bool:
            return await _status(frontend, new) == 200

        await until(is_rotated, 2.0, "a rotation counts within two seconds")
        assert await _status(frontend, old) == 401
        assert (await frontend.client.get(path, headers=bearer(new))).status_code == 200


async def test_keys_of_a_file_and_of_the_database_count_together(
    start: Start, url: str, tmp_path: Path
) -> None:
    stored = await add_key(url, "alice")
    file = tmp_path / "keys.json"
    plain = "of-another-system-1234"
    file.write_text(json.dumps([{"name": "bob", "secret": plain, "role": "metrics"}]), encoding="utf-8")
    async with start(worker(), database_url=url, keys_file=str(file)) as frontend:
        assert await _status(frontend, stored) == 200
        assert (await frontend.client.get("/metrics", headers=bearer(plain))).status_code == 200
        assert await _status(frontend, plain) == 403
        file.write_text("[]", encoding="utf-8")

        async def is_removed() -> bool:
            return await _status(frontend, plain) == 401

        await until(is_removed, 2.0, "a change of the file counts within two seconds")
        assert await _status(frontend, stored) == 200


async def test_an_empty_keys_file_requires_keys(start: Start, url: str, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    async with start(worker(), database_url=url, keys_file=str(folder)) as frontend:
        assert (await frontend.client.get("/api/tags")).status_code == 401


@pytest.mark.parametrize(("listen", "keys", "warned"), [
    ("0.0.0.0:0", {}, True), ("0.0.0.0:0", {"require_keys": True}, False), ("127.0.0.1:0", {}, False),
])  # fmt: skip
async def test_the_start_warns_of_an_open_address_without_keys(
    start: Start,
    url: str,
    listen: str,
    keys: dict[str, bool],
    warned: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with start(worker(), database_url=url, listen=listen, **keys):
        pass
    assert ("OPEN TO THE NETWORK" in caplog.text) is warned
    assert ("keys create" in caplog.text) is warned


async def test_secrets_are_in_no_log_error_or_metric(
    start: Start, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where a client sends its key as a path, or as a model's name."""
    caplog.set_level(logging.DEBUG, "drover")
    admin, expired = await add_key(url, "admin", role=Role.ADMIN), await add_key(url, "old", expires_unix=1)
    answers = []
    async with start(worker(), database_url=url, store_responses=True) as frontend:
        routes = (("GET", "/metrics"), ("POST", "/v1/messages"), ("GET", "/nothing"))
        # The first one of each secret alone: later ones would wait for its digest.
        for secret in (admin, expired, _WRONG):
            answers.append(await frontend.client.get(f"/{secret}?key={secret}", headers=bearer(secret)))
        answers += await asyncio.gather(
            *(
                _send(frontend, *route, headers)
                for secret in (admin, expired, _WRONG)
                for headers in _ways(secret)
                for route in routes
            )
        )
        body = {"model": "m", "input": "hi"}
        answers.append(await frontend.client.post("/v1/responses", json=body, headers=bearer(admin)))
        await frontend.client.post("/api/show", json={"model": admin}, headers=bearer(admin))
    written = logs._JsonFormatter()
    logged = [written.format(record) for record in caplog.records if record.name.startswith("drover")]
    assert len(logged) > 30
    for text in (*logged, *(f"{answer.text} {answer.headers}" for answer in answers)):
        assert not any(secret.split("_", 2)[2] in text for secret in (admin, expired)), text
