"""Usage of keys: what each may read, limits, metrics by key."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from starlette.types import Message

from drover.errors import NotPermitted
from drover.v1 import engine_pb2 as pb
from frontend.access.key import Key, Role
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.observability.request_record import RequestRecord, attach_record
from frontend.usage.ledger import UsageLedger
from frontend.usage.rows import UsageRow, UsageRows
from frontend.usage.table import csv_text
from frontend.usage.tally import Tally, UsageKey
from frontend.usage_routes import UsageRoute
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import STALL
from tests.support.access_keys import add_key, bearer, id_in
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.test_usage import _CHAT, _csv, _has_requests, _token, _usage, _worker
from tests.unit.frontend.usage.records import ended


async def _asked_by(route: UsageRoute, key: Key | None, query: str = "") -> dict[str, Any]:
    scope = {"type": "http", "method": "GET", "path": "/api/usage", "headers": []}
    attach_record(scope, RequestRecord("r", _send, key=key))
    answer = await route.answer(Request({**scope, "query_string": query.encode()}))
    body: dict[str, Any] = json.loads(bytes(answer.body))
    return body


async def _send(message: Message) -> None:
    raise AssertionError(message)


async def test_a_key_reads_its_own_usage_and_an_admin_all(tmp_path: Path) -> None:
    database = Database(parse_url(f"sqlite:///{tmp_path / 'presets.sqlite3'}"), 5)
    ledger = UsageLedger(UsageRows(database), 30)
    route = UsageRoute(ledger, UsageRows(database))
    alice, bob = Key("k1", "=alice"), Key("k2", "bob", Role.METRICS)
    for key in (alice, alice, bob):
        ledger.count(ended(key=key))

    assert [row["key"] for row in (await _asked_by(route, alice))["usage"]] == ["k1"]
    assert (await _asked_by(route, alice))["total"]["requests"] == 2
    assert (await _asked_by(route, bob))["total"]["requests"] == 1
    assert (await _asked_by(route, alice, "key=k1"))["total"]["requests"] == 2
    for other in ("k2", "bob", "carol"):
        with pytest.raises(NotPermitted):
            await _asked_by(route, alice, f"key={other}")
    for whole in (None, Key("a", "root", Role.ADMIN)):
        assert [row["key_name"] for row in (await _asked_by(route, whole))["usage"]] == ["=alice", "bob"]
        assert (await _asked_by(route, whole, "key=bob"))["total"]["requests"] == 1
    await database.close()


async def test_keys_count_on_their_own(start: Start, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    alice, bob = await add_key(url, "alice"), await add_key(url, "bob")
    root = await add_key(url, "root", role=Role.ADMIN)
    async with start(_worker(), database_url=url) as frontend:

        async def asked(secret: str, **query: object) -> dict[str, Any]:
            frontend.client.headers.update(bearer(secret))
            return await _usage(frontend, **query)

        assert (await frontend.client.post("/api/chat", json=_CHAT)).status_code == 401
        for secret in (alice, bob, bob):
            answer = await frontend.client.post("/v1/chat/completions", json=_CHAT, headers=bearer(secret))
            assert answer.status_code == 200, answer.text
        await until(lambda: _has_requests_of(asked, root, 3), DEADLINE_SECONDS, "they are counted")

        for secret, requests in ((alice, 1), (bob, 2)):
            assert [(row["key"], row["requests"]) for row in (await asked(secret))["usage"]] == [
                (id_in(secret), requests)
            ]
        assert sorted(row["key_name"] for row in (await asked(root))["usage"]) == ["alice", "bob"]
        assert (await asked(root, key="bob"))["total"]["generated_tokens"] == 6
        refused = await frontend.client.get("/api/usage", params={"key": "bob"}, headers=bearer(alice))
        assert refused.status_code == 403
        as_csv = await frontend.client.get("/api/usage?format=csv", headers=bearer(alice))
        assert [row["key_name"] for row in _csv(as_csv)] == ["alice"]


async def _has_requests_of(asked: Callable[..., Awaitable[dict[str, Any]]], secret: str, count: int) -> bool:
    return bool((await asked(secret))["total"]["requests"] == count)


def test_a_cell_is_no_formula() -> None:
    key = UsageKey("2026-11-30", "k1", "m:latest", "m:latest")
    (row,) = csv.DictReader(io.StringIO(csv_text([UsageRow(key, "=1+1", Tally(1))])))

    assert row["key_name"] == "'=1+1"


async def test_a_response_that_its_client_leaves_counts_for_the_keys_limit(
    start: Start, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    secret = await add_key(url, "alice", tokens_per_minute=1000)
    prompt = pb.GenerateEvent(started=pb.Started(prompt_ids=range(400)))
    async with start(_worker(prompt, _token("a", *range(500)), STALL), database_url=url) as frontend:
        async with frontend.client.stream("POST", "/api/chat", json=_CHAT, headers=bearer(secret)) as answer:
            assert json.loads(await anext(answer.aiter_lines()))["message"]["content"] == "a"
        await until(lambda: _has_requests_of_key(frontend, secret), DEADLINE_SECONDS, "it is counted")
        # As much again does not fit into the minute.
        refused = await frontend.client.post("/api/chat", json=_CHAT, headers=bearer(secret))
        rows = (await frontend.client.get("/api/usage", headers=bearer(secret))).json()["usage"]

    assert refused.status_code == 429
    assert [(row["model"], row["requests"], row["refusals"]) for row in rows] == [
        ("", 1, 1),
        ("m:latest", 1, 0),
    ]


async def _has_requests_of_key(frontend: Frontend, secret: str) -> bool:
    answer = await frontend.client.get("/api/usage", headers=bearer(secret))
    return bool(answer.json()["total"]["generated_tokens"] == 500)


async def test_keys_have_metrics_up_to_a_number(start: Start, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    root = await add_key(url, "root", role=Role.ADMIN)
    secrets = [await add_key(url, name) for name in ("alice", "bob", "carol")]
    async with start(_worker(), database_url=url, max_key_metrics=1) as frontend:
        for secret in (*secrets, secrets[0]):
            await frontend.client.post("/api/chat", json=_CHAT, headers=bearer(secret))
        text = (await frontend.client.get("/metrics", headers=bearer(root))).text

    found = [line for line in text.splitlines() if line.startswith("drover_frontend_key_")]
    assert sorted(line for line in found if "_created" not in line) == [
        'drover_frontend_key_requests_total{key="alice"} 2.0',
        'drover_frontend_key_requests_total{key="other"} 2.0',
        'drover_frontend_key_tokens_total{key="alice",kind="cached"} 8.0',
        'drover_frontend_key_tokens_total{key="alice",kind="completion"} 6.0',
        'drover_frontend_key_tokens_total{key="alice",kind="prompt"} 14.0',
        'drover_frontend_key_tokens_total{key="other",kind="cached"} 8.0',
        'drover_frontend_key_tokens_total{key="other",kind="completion"} 6.0',
        'drover_frontend_key_tokens_total{key="other",kind="prompt"} 14.0',
    ]


async def test_the_wait_of_a_client_that_leaves_the_queue_counts(start: Start) -> None:
    worker = _worker(STALL)
    worker.report = pb.LoadReport(running_limit=1, frontends=1)
    async with start(worker, max_waiting=8) as frontend:
        clients = [await RawClient.post(frontend.port, "/api/chat", _CHAT) for _ in range(5)]

        async def waits() -> bool:
            text = (await frontend.client.get("/metrics")).text
            (line,) = [each for each in text.splitlines() if each.startswith("drover_frontend_waiting_req")]
            return len(frontend.worker.handles) + float(line.rpartition(" ")[2]) == len(clients)

        await until(waits, DEADLINE_SECONDS, "all are sent or wait")
        assert len(frontend.worker.handles) < len(clients)
        clients[-1].leave()
        await until(lambda: _has_requests(frontend, 1), DEADLINE_SECONDS, "it is counted")
        total = (await _usage(frontend))["total"]
        for client in clients:
            client.leave()

    assert (total["queued_seconds"] > 0, total["running_seconds"], total["refusals"]) == (True, 0, 0)
