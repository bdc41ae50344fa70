"""Embeddings over both tiers: the official client, a simulator that embeds, and one that cannot."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import httpx
import numpy
import ollama
import pytest

from tests.support.engine_client import engine_client
from tests.support.processes import Stack, frontend, stack, worker
from tests.support.waiting import until

EMBEDDER = ("--engine", "simulator", "--model", "vectors", "--task", "embed", "--context-length", "64")
FREED_SECONDS = 0.25


@pytest.fixture(scope="module")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("embedding"), EMBEDDER) as running:
        yield running


@pytest.fixture
def client(embedding: Stack) -> Iterator[ollama.Client]:
    with ollama.Client(host=embedding.url) as connected:
        yield connected


def _product(one: Sequence[float], other: Sequence[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


def test_one_text_and_many(client: ollama.Client) -> None:
    one = client.embed("vectors", "the sheep sleep")
    many = client.embed("vectors", ["a wheel", "the sheep sleep", ""])

    assert [len(each) for each in many.embeddings] == [64, 64, 64]
    assert many.embeddings[1] == one.embeddings[0]
    assert [_product(each, each) for each in many.embeddings] == pytest.approx([1, 1, 1])
    assert (one.model, one.prompt_eval_count is not None) == ("vectors", True)
    for duration in (one.total_duration, one.load_duration):
        assert isinstance(duration, int)
        assert duration > 0


def test_dimensions_cut_and_normalise_again(client: ollama.Client) -> None:
    cut = client.embed("vectors", "the sheep sleep", dimensions=8).embeddings[0]
    whole = client.embed("vectors", "the sheep sleep", dimensions=1000).embeddings[0]

    assert (len(cut), len(whole)) == (8, 64)
    assert _product(cut, cut) == pytest.approx(1)
    assert _product(cut, whole[:8]) ** 2 == pytest.approx(_product(whole[:8], whole[:8]))


def test_the_older_route_gives_the_same_vector(client: ollama.Client) -> None:
    older = client.embeddings("vectors", "the sheep sleep").embedding
    newer = client.embed("vectors", "the sheep sleep").embeddings[0]

    assert older == pytest.approx(newer, abs=1e-7)
    assert _product(older, older) == pytest.approx(1)


def test_a_text_beyond_the_context_is_truncated_or_refused(client: ollama.Client) -> None:
    long = "sheep " * 500
    assert client.embed("vectors", long).prompt_eval_count == 64
    assert client.embed("vectors", long, options={"num_ctx": 3}).prompt_eval_count == 3
    with pytest.raises(ollama.ResponseError) as refused:
        client.embed("vectors", ["short", long], truncate=False)
    assert refused.value.status_code == 400
    with pytest.raises(ollama.ResponseError) as refused:
        client.embeddings("vectors", long)
    assert refused.value.status_code == 500


def test_an_empty_input_has_no_embeddings(client: ollama.Client) -> None:
    assert client.embed("vectors", "", keep_alive="5m").embeddings == []
    assert client.embed("vectors", []).embeddings == []
    assert client.embeddings("vectors").embedding == []


def test_numbers_are_32_bit_floats_in_go_s_digits(embedding: Stack) -> None:
    answer = httpx.post(f"{embedding.url}/api/embed", json={"model": "vectors", "input": "x"})
    texts = answer.text.partition("[[")[2].partition("]]")[0].split(",")

    assert len(texts) == 64
    for text in texts:
        assert re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?(e[-+][1-9]\d*)?", text)
        fewest_digits = numpy.format_float_scientific(numpy.float32(text), unique=True)
        assert Decimal(text) == Decimal(fewest_digits)


async def test_the_workers_log_has_a_line_per_request(tmp_path: Path) -> None:
    slow = ("--sim-prefill-tokens-per-second", "10", "--sim-prefill-chunk-tokens", "1")
    with stack(tmp_path, (*EMBEDDER, *slow)) as running:
        log = running.worker.log_text

        async with engine_client(running.worker.address) as engine, httpx.AsyncClient() as http:

            async def ask(text: str, request_id: str) -> httpx.Response:
                return await http.post(
                    f"{running.url}/api/embed",
                    json={"model": "vectors", "input": text},
                    headers={"x-request-id": request_id},
                    timeout=60,
                )

            await ask("x", "short-one")
            (line,) = [line for line in log().splitlines() if "short-one" in line]
            assert '"embeddings"' in line
            assert '"prompt_tokens"' in line
            leaving = asyncio.create_task(ask("word " * 200, "one-that-leaves"))
            await until(engine.busy, 5, "the request runs")
            leaving.cancel()
            await until(lambda: "one-that-leaves" in log(), 5, "the worker has logged it")
            (line,) = [line for line in log().splitlines() if "one-that-leaves" in line]
            assert "ClientLeft" in line


@pytest.mark.parametrize("name", ["vectors", "vectors:latest", "VECTORS"])
def test_names_match_in_any_case_and_are_echoed(client: ollama.Client, name: str) -> None:
    assert client.embed(name, "x").model == name
    assert client.embeddings(name, "x").embedding


def test_a_missing_model(client: ollama.Client) -> None:
    for call in (client.embed, client.embeddings):
        with pytest.raises(
            ollama.ResponseError, match='model "nope" not found, try pulling it first'
        ) as caught:
            call("nope", "x")
        assert caught.value.status_code == 404


def test_a_model_that_embeds_does_not_chat(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match='"vectors" does not support chat'):
        client.chat("vectors", [{"role": "user", "content": "x"}])
    assert client.show("vectors").capabilities == ["embedding"]


def test_a_model_that_generates_does_not_embed(simulated: Stack) -> None:
    refusal = {"error": "This server does not support embeddings. Start it with `--embeddings`"}
    newer = httpx.post(f"{simulated.url}/api/embed", json={"model": "sim", "input": "x"})
    older = httpx.post(f"{simulated.url}/api/embeddings", json={"model": "sim", "prompt": "x"})

    assert (newer.status_code, newer.json()) == (501, refusal)
    assert (older.status_code, older.json()) == (500, refusal)


async def test_one_name_may_stand_for_a_worker_of_each_kind(tmp_path: Path) -> None:
    generator = ("--engine", "simulator", "--model", "both")
    with (
        worker(tmp_path / "g.log", *generator) as generates,
        worker(tmp_path / "e.log", *generator, "--task", "embed") as embeds,
        frontend(tmp_path / "f.log", [generates.address, embeds.address]) as front,
    ):
        async with httpx.AsyncClient(base_url=f"http://{front.address}") as http:

            async def both_answer() -> bool:
                embedded = await http.post("/api/embed", json={"model": "both", "input": "x"})
                generated = await http.post("/api/generate", json={"model": "both", "prompt": "x"})
                return embedded.status_code == generated.status_code == 200

            await until(both_answer, 5, "both workers have joined and each gets what it can do")


async def test_a_disconnect_frees_the_engine(tmp_path: Path) -> None:
    slow = ("--sim-prefill-tokens-per-second", "10", "--sim-prefill-chunk-tokens", "1")
    with stack(tmp_path, (*EMBEDDER, *slow)) as running:
        async with engine_client(running.worker.address) as engine, httpx.AsyncClient() as http:
            body = {"model": "vectors", "input": "word " * 200}
            asking = asyncio.create_task(http.post(f"{running.url}/api/embed", json=body, timeout=60))
            await until(engine.busy, 5, "the request runs")
            asking.cancel()
            assert await until(engine.idle, 5, "the engine is free again") < FREED_SECONDS


async def test_a_request_may_take_only_so_long(tmp_path: Path) -> None:
    stalled = ("--sim-stall-prefill-after-tokens", "5")
    with stack(tmp_path, (*EMBEDDER, *stalled), ("--request-timeout-seconds", "0.5")) as running:
        async with engine_client(running.worker.address) as engine, httpx.AsyncClient() as http:
            body = {"model": "vectors", "input": "word " * 20}
            answer = await http.post(f"{running.url}/api/embed", json=body)
            assert (answer.status_code, answer.json()) == (
                504,
                {"error": "the request took longer than 0.5 seconds"},
            )
            await until(engine.idle, 1, "the engine is free again")
