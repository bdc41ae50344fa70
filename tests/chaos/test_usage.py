"""Usage adds up: what clients got, the metrics and the database say the same, whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import httpx
import pytest

from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.usage.query import UsageQuery
from frontend.usage.rows import UsageRows
from frontend.usage.tally import Tally
from tests.chaos.fleet import Fleet, running_fleet
from tests.support.postgres import Postgres, postgres
from tests.support.waiting import until

_NAMES = ("--name", "sim", "--name", "cut")
_ENGINE = ("--engine", "simulator", "--model", "sim", *_NAMES)
_TOKENS = 60
# Answers take two thirds of a second and end at their limit.
_PACE = (
    *("--sim-decode-step-base-ms", "10", "--sim-decode-step-per-running-ms", "0"),
    *("--sim-answer-tokens-min", "5000", "--sim-answer-tokens-max", "5000"),
)
_DEADLINE_SECONDS = 30.0
_WRITTEN_SECONDS = 5.0
_EACH = 3
_ALL = UsageQuery("2000-01-01", "2999-12-31")


@dataclass
class Sums:
    prompt: int = 0
    cached: int = 0
    generated: int = 0

    def add(self, prompt: int, cached: int, generated: int) -> None:
        self.prompt += prompt
        self.cached += cached
        self.generated += generated


@dataclass
class Got:
    """What the clients of one model received. `pieces`: of answers that were not read to their end."""

    tokens: Sums = field(default_factory=Sums)
    requests: int = 0
    pieces: int = 0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@asynccontextmanager
async def _rows(url: str) -> AsyncIterator[UsageRows]:
    database = Database(parse_url(url), 5.0)
    yield UsageRows(database)
    await database.close()


async def _stored(url: str) -> Tally:
    async with _rows(url) as rows:
        return await rows.total(_ALL)


def _ollama(path: str, text: str, stream: bool) -> tuple[str, dict[str, Any]]:
    what = {"prompt": text} if path.endswith("generate") else {"messages": _messages(text)}
    return path, {"stream": stream, "options": {"temperature": 0, "num_predict": _TOKENS}, **what}


def _messages(text: str) -> list[dict[str, str]]:
    # Long enough for pages of the prefix cache.
    return [{"role": "user", "content": f"a story that everybody knows {'and again ' * 40} {text}"}]


def _requests(number: int) -> Iterator[tuple[str, dict[str, Any]]]:
    text = f"number {number}"
    for stream in (True, False):
        yield _ollama("/api/chat", text, stream)
        yield _ollama("/api/generate", text, stream)
        limited = {"messages": _messages(text), "max_tokens": _TOKENS, "stream": stream}
        usage = {"stream_options": {"include_usage": True}} if stream else {}
        yield "/v1/chat/completions", {**limited, **usage}
        yield "/v1/chat/completions", {**limited, **usage, "n": 2}
        yield "/v1/messages", limited
        yield "/v1/responses", {"input": text, "max_output_tokens": _TOKENS, "stream": stream}


def _add_ollama(line: Mapping[str, Any], sums: Sums) -> None:
    sums.add(line["prompt_eval_count"], line["prompt_eval_cached_count"], line["eval_count"])


def _add(path: str, last: Mapping[str, Any], sums: Sums) -> None:
    """Add the usage that an answer reports."""
    if path.startswith("/api/"):
        _add_ollama(last, sums)
        return
    usage = last["usage"]
    if path == "/v1/chat/completions":
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        sums.add(usage["prompt_tokens"], cached, usage["completion_tokens"])
    elif path == "/v1/responses":
        cached = usage["input_tokens_details"]["cached_tokens"]
        sums.add(usage["input_tokens"], cached, usage["output_tokens"])
    else:
        cached = usage["cache_read_input_tokens"]
        sums.add(usage["input_tokens"] + cached, cached, usage["output_tokens"])


def _with_usage(path: str, text: str) -> dict[str, Any]:
    """The object of a whole answer that has the usage."""
    if path.startswith("/api/"):
        return dict(json.loads(text.splitlines()[-1]))
    if not text.startswith(("data:", "event:", ":")):
        return dict(json.loads(text))
    data = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: {")]
    found: dict[str, Any] = {}
    for each in map(json.loads, data):
        assert "error" not in each, each
        # Anthropic's first event has no counts yet; those of Responses are in the last event's response.
        found = each if each.get("usage") else each.get("response", {}) or found
    return found


async def _whole(client: httpx.AsyncClient, path: str, body: dict[str, Any], got: Got) -> None:
    answer = await client.post(path, json={"model": "sim", **body})
    assert answer.status_code == 200, answer.text
    _add(path, _with_usage(path, answer.text), got.tokens)
    got.requests += 1


async def _cut(client: httpx.AsyncClient, number: int, got: Got) -> None:
    """Leave after a few tokens."""
    path, body = _ollama("/api/chat", f"cut {number}", stream=True)
    async with client.stream("POST", path, json={"model": "cut", **body}) as answer:
        lines = answer.aiter_lines()
        for _ in range(5 + number):
            assert json.loads(await anext(lines))["message"]["content"]
            got.pieces += 1
    got.requests += 1


async def _usage(url: str, **query: str) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        answer = await client.get("/api/usage", params=query)
        assert answer.status_code == 200, answer.text
        total: dict[str, Any] = answer.json()["total"]
        return total


async def _metrics(fleet: Fleet) -> Sums:
    """Of all frontends and models."""
    names = {"prompt": "prompt", "cached": "cached", "completion": "generated"}
    found = Sums()
    async with httpx.AsyncClient(trust_env=False) as client:
        for number in range(len(fleet.frontends)):
            for line in (await client.get(f"{fleet.url(number)}/metrics")).text.splitlines():
                for kind, name in names.items():
                    if line.startswith(f'drover_frontend_tokens_total{{kind="{kind}"'):
                        setattr(found, name, getattr(found, name) + int(float(line.rpartition(" ")[2])))
    return found


def _tokens(total: Mapping[str, Any]) -> Sums:
    return Sums(*(total[f"{each.name}_tokens"] for each in fields(Sums)))


async def test_answers_metrics_and_usage_agree_while_a_worker_dies(tmp_path: Path, server: Postgres) -> None:
    """Two frontends add to the same rows; clients of all dialects, some of which leave."""
    flags = ("--database-url", server.url)
    with running_fleet(tmp_path, 2, 2, _PACE, flags, _ENGINE) as fleet:
        whole, cut = Got(), Got()
        clients = [
            httpx.AsyncClient(base_url=fleet.url(number), timeout=_DEADLINE_SECONDS, trust_env=False)
            for number in range(2)
        ]
        async with clients[0], clients[1], asyncio.TaskGroup() as tasks:
            for number in range(_EACH):
                for path, body in _requests(number):
                    tasks.create_task(_whole(clients[number % 2], path, body, whole))
                for client in clients:
                    tasks.create_task(_cut(client, number, cut))
            await until(lambda: fleet.running(0) > 5, _DEADLINE_SECONDS, "the worker has work")
            fleet.workers[0].signal(signal.SIGKILL)
        failovers = sum(each.log_text().count('"failovers"') for each in fleet.frontends)
        retries = sum(each.log_text().count('"retries"') for each in fleet.frontends)

        async def has_all() -> bool:
            totals = [await _usage(fleet.url(number)) for number in range(2)]
            return all(total["requests"] == whole.requests + cut.requests for total in totals)

        await until(has_all, _WRITTEN_SECONDS, "both frontends have written all")
        of_whole = await _usage(fleet.url(), model="sim")
        of_cut = await _usage(fleet.url(), model="cut")
        total = await _usage(fleet.url())
        metrics = await _metrics(fleet)

    assert failovers + retries > 0
    assert (of_whole["requests"], of_whole["refusals"]) == (whole.requests, 0)
    assert _tokens(of_whole) == whole.tokens
    assert whole.tokens.cached > 0
    assert cut.pieces <= of_cut["generated_tokens"] < cut.requests * _TOKENS
    assert of_cut["prompt_tokens"] > 0
    assert _tokens(total) == metrics
    assert total["running_seconds"] > whole.requests * 0.5


async def _asked(url: str, requests: int) -> Sums:
    got = Got()
    async with httpx.AsyncClient(base_url=url, timeout=_DEADLINE_SECONDS, trust_env=False) as client:
        path, body = _ollama("/api/chat", "x", stream=False)
        await asyncio.gather(*(_whole(client, path, body, got) for _ in range(requests)))
    return got.tokens


async def test_a_killed_frontend_loses_five_seconds_at_most(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    with running_fleet(tmp_path, 1, 1, _PACE, engine_flags=_ENGINE) as fleet:
        tokens = await _asked(fleet.url(), 3)

        async def is_written() -> bool:
            return (await _stored(url)).requests == 3

        await until(is_written, _WRITTEN_SECONDS, "it is written without being asked for")
        fleet.frontends[0].signal(signal.SIGKILL)
        fleet.frontends[0].wait()

        assert (await _stored(url)).generated_tokens == tokens.generated
        fleet.restart_frontend(0)
        await _asked(fleet.url(), 1)
        assert (await _usage(fleet.url()))["requests"] == 4


async def test_a_drain_loses_nothing(tmp_path: Path) -> None:
    """Also not the requests that run when the signal comes."""
    url = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    with running_fleet(tmp_path, 1, 1, _PACE, engine_flags=_ENGINE) as fleet:
        asked = asyncio.create_task(_asked(fleet.url(), 3))
        await until(lambda: fleet.running(0) == 3, _DEADLINE_SECONDS, "they run")
        fleet.frontends[0].signal(signal.SIGTERM)
        tokens = await asked
        assert await asyncio.to_thread(fleet.frontends[0].wait) == 0
        stored = await _stored(url)

    assert (stored.requests, stored.prompt_tokens) == (3, tokens.prompt)
    assert stored.generated_tokens == tokens.generated == 3 * _TOKENS
