"""GET /api/usage: what it counts of every kind of request, that it agrees with /metrics and the answers, and
who may read what.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.types import Message

from drover.errors import EngineFailed, NotPermitted, QueueFull
from drover.v1 import engine_pb2 as pb
from frontend.access.key import Key, Role
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.observability.request_record import RequestRecord, attach_record
from frontend.usage.ledger import UsageLedger
from frontend.usage.query import UsageQuery, cursor_of
from frontend.usage.rows import UsageRow, UsageRows
from frontend.usage.table import csv_text
from frontend.usage.tally import Tally, UsageKey
from frontend.usage_routes import UsageRoute
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, started
from tests.support.access_keys import add_key, bearer, id_in
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.stored_responses import created, until_status
from tests.unit.frontend.usage.records import ended

_MODEL = pb.Model(
    names=["m:latest", "alias:latest"],
    digest="0" * 64,
    context_length=4096,
    capabilities=pb.Capabilities(completion=True, embedding=True, decision=True, rerank=True, classify=True),
)
_MESSAGES = [{"role": "user", "content": "x"}]
_CHAT = {"model": "m", "messages": _MESSAGES}
_TIMINGS = pb.Timings(queue_ns=1_000_000, prefill_ns=1, decode_ns=1)
_COUNTS = ("prompt_tokens", "cached_tokens", "generated_tokens")
Sums = tuple[int, int, int]


def _answer(prompt: int = 7, cached: int = 4, generated: int = 3) -> list[Step]:
    end = pb.Done(
        finish_reason=pb.Done.STOP,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=generated,
        timings=_TIMINGS,
    )
    return [started(), _token("a", 1), pb.GenerateEvent(done=end)]


def _token(text: str, *ids: int) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=text, token_ids=ids)])


def _worker(*steps: Step) -> StallingWorker:
    return StallingWorker(
        steps=steps or _answer(),
        described=_MODEL,
        embedded=pb.EmbedResponse(embeddings=[pb.Embedding(values=[1])], prompt_tokens=6, timings=_TIMINGS),
        scored=pb.ScoreResponse(
            results=[pb.ScoreResult(logprobs=[-1, -2], label_ids=[1, 2])],
            prompt_tokens=9,
            cached_tokens=8,
            timings=_TIMINGS,
        ),
        reranked=pb.RerankResponse(scores=[0.5], prompt_tokens=4, timings=_TIMINGS),
        classified=pb.ClassifyResponse(
            labels=["a"],
            classifications=[pb.Classification(probabilities=[1])],
            prompt_tokens=3,
            timings=_TIMINGS,
        ),
    )


@pytest.fixture
async def counting(start: Start) -> AsyncIterator[Frontend]:
    async with start(_worker()) as frontend:
        yield frontend


async def _usage(frontend: Frontend, **query: object) -> dict[str, Any]:
    answer = await frontend.client.get("/api/usage", params=query)  # type: ignore[arg-type] # httpx's
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def _metrics(frontend: Frontend) -> Sums:
    """Tokens of all models."""
    text = (await frontend.client.get("/metrics")).text
    sums = dict.fromkeys(("prompt", "cached", "completion"), 0)
    for line in text.splitlines():
        for kind in sums:
            if line.startswith(f'drover_frontend_tokens_total{{kind="{kind}"'):
                sums[kind] += int(float(line.rpartition(" ")[2]))
    return (sums["prompt"], sums["cached"], sums["completion"])


def _sums(row: Mapping[str, Any]) -> Sums:
    prompt, cached, generated = (row[name] for name in _COUNTS)
    return (prompt, cached, generated)


_DECISION = {"model": "m", "input": "x", "questions": [{"type": "predicate", "instructions": "Is it?"}]}
_KINDS: Mapping[str, tuple[str, Mapping[str, Any], Sums]] = {
    "chat": ("/api/chat", {**_CHAT, "stream": False}, (7, 4, 3)),
    "chat streamed": ("/api/chat", _CHAT, (7, 4, 3)),
    "generate": ("/api/generate", {"model": "m", "prompt": "x"}, (7, 4, 3)),
    "completions": ("/v1/chat/completions", _CHAT, (7, 4, 3)),
    "completions streamed": ("/v1/chat/completions", {**_CHAT, "stream": True}, (7, 4, 3)),
    "choices": ("/v1/chat/completions", {**_CHAT, "n": 3}, (7, 4, 9)),
    "choices streamed": ("/v1/chat/completions", {**_CHAT, "n": 3, "stream": True}, (7, 4, 9)),
    "prompts": ("/v1/completions", {"model": "m", "prompt": ["x", "y"], "n": 2}, (14, 8, 12)),
    "responses": ("/v1/responses", {"model": "m", "input": "x"}, (7, 4, 3)),
    "compaction": ("/v1/responses/compact", {"model": "m", "input": "x"}, (7, 4, 3)),
    "messages": ("/v1/messages", {**_CHAT, "max_tokens": 9}, (7, 4, 3)),
    "embed": ("/api/embed", {"model": "m", "input": "x"}, (6, 0, 0)),
    "old embeddings": ("/api/embeddings", {"model": "m", "prompt": "x"}, (6, 0, 0)),
    "embeddings": ("/v1/embeddings", {"model": "m", "input": "x"}, (6, 0, 0)),
    "decision": ("/v1/decisions", _DECISION, (9, 8, 0)),
    "rerank": ("/v1/rerank", {"model": "m", "query": "x", "documents": ["y"]}, (4, 0, 0)),
    "classify": ("/v1/classify", {"model": "m", "input": "x"}, (3, 0, 0)),
    "tokenize": ("/api/tokenize", {"model": "m", "content": "x"}, (0, 0, 0)),
    "load": ("/api/generate", {"model": "m"}, (0, 0, 0)),
}


@pytest.mark.parametrize("kind", _KINDS)
async def test_each_kind_of_request_counts_once_and_as_in_the_metrics(counting: Frontend, kind: str) -> None:
    path, body, expected = _KINDS[kind]
    answer = await counting.client.post(path, json=body)
    assert answer.status_code == 200, answer.text

    await until(lambda: _has_requests(counting, 1), DEADLINE_SECONDS, "it is counted")
    usage = await _usage(counting)

    (row,) = usage["usage"]
    assert _sums(row) == expected == await _metrics(counting)
    assert (row["model"], row["served_model"], row["key"], row["key_name"]) == (
        "m:latest",
        "m:latest",
        "",
        "",
    )
    assert (row["requests"], row["refusals"]) == (1, 0)
    assert (row["queued_seconds"] > 0) is (expected != (0, 0, 0))
    assert {name: row[name] for name in usage["total"]} == usage["total"]
    assert row["day"] == usage["to"] == datetime.now(UTC).date().isoformat()


async def _has_requests(frontend: Frontend, count: int, **query: object) -> bool:
    return bool((await _usage(frontend, **query))["total"]["requests"] == count)


async def test_what_arrived_of_a_cut_off_response_counts(start: Start) -> None:
    begins = pb.GenerateEvent(started=pb.Started(prompt_ids=[1, 2, 3], cached_tokens=2))
    async with start(_worker(begins, _token("a", 7), _token("b", 8, 9), STALL)) as frontend:
        client = await RawClient.post(frontend.port, "/api/chat", _CHAT)
        await (await frontend.handle()).stalled.wait()
        client.leave()
        await until(lambda: _has_requests(frontend, 1), DEADLINE_SECONDS, "it is counted")

        assert _sums((await _usage(frontend))["total"]) == (3, 2, 3) == await _metrics(frontend)


async def test_a_response_that_fails_after_its_beginning_counts(start: Start) -> None:
    async with start(_worker(started(), _token("a", 7), EngineFailed("broken"))) as frontend:
        await frontend.client.post("/api/chat", json=_CHAT)
        await until(lambda: _has_requests(frontend, 1), DEADLINE_SECONDS, "it is counted")

        assert _sums((await _usage(frontend))["total"]) == (1, 0, 1) == await _metrics(frontend)


async def test_choices_that_are_cut_off_have_their_prompt_once(start: Start) -> None:
    async with start(_worker(started(), _token("a", 7), STALL)) as frontend:
        client = await RawClient.post(
            frontend.port, "/v1/chat/completions", {**_CHAT, "n": 3, "stream": True}
        )
        await until(lambda: len(frontend.worker.handles) == 3, DEADLINE_SECONDS, "all are sent")
        for handle in frontend.worker.handles:
            await handle.stalled.wait()
        client.leave()
        await until(lambda: _has_requests(frontend, 1), DEADLINE_SECONDS, "it is counted")

        assert _sums((await _usage(frontend))["total"]) == (1, 0, 3) == await _metrics(frontend)


async def test_a_response_in_the_background_counts_once(start: Start) -> None:
    async with start(_worker(), store_responses=True) as frontend:
        sent = await created(frontend, background=True)
        await until_status(frontend, sent["id"], "completed")
        await until(lambda: _has_requests(frontend, 1), DEADLINE_SECONDS, "it is counted")

        assert _sums((await _usage(frontend))["total"]) == (7, 4, 3) == await _metrics(frontend)


async def test_refused_requests_count_as_refusals(start: Start) -> None:
    async with start(_worker(QueueFull())) as frontend:
        frontend.worker.embedded = QueueFull()
        for path, body in (
            ("/api/chat", _CHAT),
            ("/v1/chat/completions", {**_CHAT, "stream": True}),
            ("/v1/messages", {**_CHAT, "max_tokens": 9}),
            ("/v1/embeddings", {"model": "m", "input": "x"}),
        ):
            assert (await frontend.client.post(path, json=body)).status_code in (503, 529)
        await until(lambda: _has_requests(frontend, 4), DEADLINE_SECONDS, "they are counted")
        (row,) = (await _usage(frontend))["usage"]

    assert (row["model"], row["refusals"], _sums(row)) == ("m:latest", 4, (0, 0, 0))


async def test_a_response_in_the_background_that_is_refused_is_a_refusal(start: Start) -> None:
    async with start(_worker(), store_responses=True, max_background_responses=0) as frontend:
        body = {"model": "m", "input": "x", "background": True}
        assert (await frontend.client.post("/v1/responses", json=body)).status_code == 503
        await until(lambda: _has_requests(frontend, 1), DEADLINE_SECONDS, "it is counted")

        assert (await _usage(frontend))["total"]["refusals"] == 1


async def test_requests_for_no_model_do_not_count(counting: Frontend) -> None:
    await counting.client.post("/api/chat", json={**_CHAT, "model": "nonsense"})
    await counting.client.post("/api/chat", content=b"{")
    await counting.client.get("/api/tags")

    assert (await _usage(counting))["usage"] == []


async def test_a_model_counts_under_the_name_that_was_asked_for(start: Start) -> None:
    routers = json.dumps({"auto": {"simple": "m", "complex": "m", "judge": "m"}})
    async with start(_worker(), smart_routers=routers) as frontend:
        await frontend.client.post("/api/create", json={"model": "pirate", "from": "m", "system": "Arr."})
        for name in ("M", "m:latest", "Alias", "PIRATE", "auto:simple"):
            answer = await frontend.client.post("/api/chat", json={**_CHAT, "model": name})
            assert answer.status_code == 200, answer.text
        await until(lambda: _has_requests(frontend, 5), DEADLINE_SECONDS, "they are counted")
        usage = await _usage(frontend)
        of_pirate = await _usage(frontend, model="Pirate")

    assert [(row["model"], row["served_model"], row["requests"]) for row in usage["usage"]] == [
        ("alias:latest", "m:latest", 1),
        ("auto:latest", "m:latest", 1),
        ("m:latest", "m:latest", 2),
        ("pirate:latest", "m:latest", 1),
    ]
    assert [row["model"] for row in of_pirate["usage"]] == ["pirate:latest"]
    assert of_pirate["total"]["requests"] == 1


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({"from": "yesterday"}, "from must be a day like 2026-11-30"),
        ({"to": "20261130"}, "to must be a day"),
        ({"to": "2026-02-30"}, "to must be a day"),
        ({"from": "2026-11-30", "to": "2026-11-01"}, "is after"),
        ({"limit": "0"}, "limit must be"),
        ({"limit": "10001"}, "limit must be"),
        ({"limit": "-1"}, "limit must be"),
        ({"limit": "\N{SUPERSCRIPT TWO}"}, "limit must be"),
        ({"limit": "9" * 5000}, "limit must be"),
        ({"after": "nonsense"}, "after must be"),
        ({"after": cursor_of(UsageKey("2026-11-30", "a\0b", "m", "m"))}, "after must be"),
        ({"key": "a\0b"}, "key must be"),
        ({"model": "m" * 601}, "model must be"),
        ({"format": "xml"}, "format must be json or csv"),
    ],
)
async def test_a_query_that_cannot_be_read_is_refused(
    counting: Frontend, query: dict[str, str], wrong: str
) -> None:
    answer = await counting.client.get("/api/usage", params=query)

    assert answer.status_code == 400
    assert wrong in answer.json()["error"]


async def test_the_first_days_there_are(counting: Frontend) -> None:
    assert (await _usage(counting, to="0001-01-02"))["from"] == "0001-01-01"
    assert (await _usage(counting, to="2026-11-30"))["from"] == "2026-11-01"


async def test_usage_as_csv_and_in_pages(start: Start) -> None:
    async with start(_worker()) as frontend:
        for name in ("m", "alias"):
            await frontend.client.post("/api/chat", json={**_CHAT, "model": name})
        await until(lambda: _has_requests(frontend, 2), DEADLINE_SECONDS, "they are counted")
        by_header = await frontend.client.get("/api/usage", headers={"accept": "text/csv"})
        first = await frontend.client.get("/api/usage", params={"format": "csv", "limit": 1})
        second = await frontend.client.get(first.links["next"]["url"])
        as_json = await _usage(frontend, limit=1)
        rest = await _usage(frontend, limit=1, after=as_json["next"])

    assert by_header.headers["content-type"].startswith("text/csv")
    assert "attachment" in by_header.headers["content-disposition"]
    rows = _csv(by_header)
    assert [row["model"] for row in rows] == ["alias:latest", "m:latest"]
    assert [int(rows[0][name]) for name in _COUNTS] == [7, 4, 3]
    assert float(rows[0]["queued_seconds"]) == 0.001
    assert [row["model"] for row in _csv(first) + _csv(second)] == ["alias:latest", "m:latest"]
    assert [row["model"] for row in as_json["usage"] + rest["usage"]] == ["alias:latest", "m:latest"]
    assert as_json["total"]["requests"] == 2
    assert set(rows[0]) == set(as_json["usage"][0])


def _csv(answer: httpx.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_without_days_to_keep_nothing_is_counted(start: Start, tmp_path: Path) -> None:
    async with start(_worker(), usage_days=0) as frontend:
        await frontend.client.post("/api/chat", json=_CHAT)
        answer = await frontend.client.get("/api/usage")

    assert answer.status_code == 400
    assert "--usage-days is 0" in answer.json()["error"]
    database = Database(parse_url(f"sqlite:///{tmp_path / 'presets.sqlite3'}"), 5)
    assert await UsageRows(database).read(UsageQuery("2000-01-01", "2999-01-01")) == []
    await database.close()


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
