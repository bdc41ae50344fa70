"""GET /api/usage: what it counts of every kind of request, that it agrees with /metrics and the answers, and
who may read what.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from drover.errors import EngineFailed, QueueFull
from drover.v1 import engine_pb2 as pb
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.usage.query import UsageQuery, cursor_of
from frontend.usage.rows import UsageRows
from frontend.usage.tally import UsageKey
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, started
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.stored_responses import created, until_status

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
