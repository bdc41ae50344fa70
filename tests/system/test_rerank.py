"""Reranking over both tiers: the log, cancelling, presets, and workers of several tasks under one name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.engine_client import engine_client
from tests.support.processes import Stack, frontend, stack, worker
from tests.support.waiting import until, wait_until

RERANKER = ("--engine", "simulator", "--model", "ranker", "--task", "rerank")
SLOW = ("--sim-prefill-tokens-per-second", "10", "--sim-prefill-chunk-tokens", "1")
BODY = {"query": "what do sheep eat", "documents": ["a red car", "sheep eat grass"]}
LONG = {"query": "what do sheep eat", "documents": ["word " * 200]}
FREED_SECONDS = 1.0


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("ranker"), RERANKER) as running:
        yield running


def test_a_preset_of_a_reranker_reranks(ranker: Stack) -> None:
    made = httpx.post(f"{ranker.url}/api/create", json={"model": "mine", "from": "ranker", "stream": False})
    assert made.status_code == 200, made.text
    answer = httpx.post(f"{ranker.url}/v1/rerank", json={"model": "mine", **BODY}).json()
    assert (answer["model"], answer["results"][0]["index"]) == ("mine", 1)
    shown = httpx.post(f"{ranker.url}/api/show", json={"model": "mine"}).json()
    assert shown["capabilities"] == ["rerank"]
    unnamed = httpx.post(f"{ranker.url}/v1/rerank", json=BODY).json()
    assert unnamed["model"] == "ranker:latest"


def test_a_reranker_neither_chats_nor_embeds(ranker: Stack) -> None:
    chat = {"model": "ranker", "messages": [{"role": "user", "content": "hi"}]}
    embed = {"model": "ranker", "input": "x"}
    answers = [
        httpx.post(f"{ranker.url}/api/chat", json=chat),
        httpx.post(f"{ranker.url}/v1/chat/completions", json=chat),
        httpx.post(f"{ranker.url}/api/embed", json=embed),
        httpx.post(f"{ranker.url}/v1/classify", json=embed),
    ]
    assert [each.status_code for each in answers] == [400, 400, 501, 400]


def test_on_an_ollama_server_it_does_not_rerank(ranker: Stack, tmp_path: Path) -> None:
    """Ollama's protocol has no route for it."""
    with frontend(tmp_path / "through.log", [f"ollama:{ranker.url}/ranker"]) as through:
        url = f"http://{through.address}"
        wait_until(lambda: bool(httpx.get(f"{url}/api/tags").json()["models"]), 10, "the model is there")
        answer = httpx.post(f"{url}/v1/rerank", json={"model": "ranker", **BODY})
    assert answer.status_code == 400
    assert "does not support rerank" in answer.text


def test_both_logs_have_a_line(ranker: Stack) -> None:
    headers = {"x-request-id": "rerank-one"}
    assert httpx.post(f"{ranker.url}/v2/rerank", json=BODY, headers=headers).status_code == 200
    for process in (ranker.worker, ranker.frontend):
        (line,) = [line for line in process.log_text().splitlines() if '"rerank-one"' in line]
        assert '"scores":2' in line
        assert '"prompt_tokens"' in line


async def test_a_disconnect_frees_the_engine(tmp_path: Path) -> None:
    with stack(tmp_path, (*RERANKER, *SLOW)) as running:
        async with engine_client(running.worker.address) as engine, httpx.AsyncClient() as http:
            asking = asyncio.create_task(http.post(f"{running.url}/v1/rerank", json=LONG, timeout=60))
            await until(engine.busy, 5, "the request runs")
            asking.cancel()
            assert await until(engine.idle, 5, "the engine is free again") < FREED_SECONDS


async def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    with (
        worker(tmp_path / "one.log", *RERANKER, *SLOW) as one,
        worker(tmp_path / "two.log", *RERANKER, *SLOW) as two,
        frontend(tmp_path / "frontend.log", [one.address, two.address]) as front,
    ):
        url = f"http://{front.address}/v1/rerank"
        async with httpx.AsyncClient(timeout=60) as http:
            documents = {"query": "q", "documents": ["word " * 20]}
            asking = asyncio.create_task(http.post(url, json=documents))
            async with engine_client(one.address) as first, engine_client(two.address) as second:
                busy = await _busy(first.busy, second.busy)
            (one, two)[busy].popen.kill()
            answer = await asking
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 1
    assert '"retries":1' in front.log_text()


async def _busy(*engines: Callable[[], Awaitable[bool]]) -> int:
    found: list[int] = []

    async def any_busy() -> bool:
        for index, busy in enumerate(engines):
            if await busy():
                found.append(index)
        return bool(found)

    await until(any_busy, 5, "a worker has the request")
    return found[0]


async def test_one_name_may_belong_to_a_generating_and_a_reranking_worker(tmp_path: Path) -> None:
    flags = ("--engine", "simulator", "--model", "both")
    with (
        worker(tmp_path / "g.log", *flags) as generates,
        worker(tmp_path / "r.log", *flags, "--task", "rerank") as reranks,
        frontend(tmp_path / "f.log", [generates.address, reranks.address]) as front,
    ):
        async with httpx.AsyncClient(base_url=f"http://{front.address}") as http:

            async def both_answer() -> bool:
                ranked = await http.post("/v1/rerank", json={"model": "both", **BODY})
                generated = await http.post("/api/generate", json={"model": "both", "prompt": "x"})
                unnamed = await http.post("/v1/rerank", json=BODY)
                statuses = {each.status_code for each in (ranked, unnamed, generated)}
                return statuses == {200}

            await until(both_answer, 5, "both workers have joined and each gets what it can do")
