"""Sources that trickle, send much to search through, and are asked for too much at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest

from drover.errors import DroverError, NotTransferable, QueueFull, SourceFailed
from drover.names import ModelName
from drover.v1 import host_pb2
from engine_worker.host.sources import http, pulls, pushes
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.docker_config import DockerConfig
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.hub_files import chosen_files
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.sources.pushes import Pushes
from engine_worker.host.sources.registry_auth import RegistryAuth
from engine_worker.host.store.manifest import MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.fakes.hostile_source import Answer, Exchange, HostileSource, serving
from tests.support.cpu_time import within_cpu
from tests.unit.engine_worker.host.conftest import PutModel, digest_of, name

_DATA = b"weights" * 1000
# A search that looks at each letter once takes milliseconds.
_MOST_SECONDS = 0.5


def anything(model: ModelName, manifest: Manifest) -> None:
    """No check of what the files are."""


async def changed() -> None:
    pass


@asynccontextmanager
async def pulling(
    store: Store, manifests: Mapping[str, Answer], blobs: Mapping[str, Answer]
) -> AsyncIterator[Pulls]:
    """From evil.example and hf.co."""
    client = SourceClient()
    async with serving(HostileSource(manifests, blobs)) as source:
        hosts = ("evil.example", "hf.co")
        sources = Sources(client, frozenset(hosts), dict.fromkeys(hosts, source.url))
        made = Pulls(store, client, sources.source_of, anything, changed)
        try:
            yield made
        finally:
            await made.stop()
            await client.close()


async def pull(made: Pulls, text: str) -> None:
    await taken(made.pull(name(text), insecure=False))


async def taken(steps: AsyncIterator[host_pb2.Progress]) -> None:
    """All of them."""
    async with asyncio.timeout(20):
        async for _ in steps:
            pass


async def manifest(exchange: Exchange) -> None:
    await exchange.answer(Manifest([Layer(MODEL, digest_of(_DATA), len(_DATA))]).encode())


async def trickling_headers(exchange: Exchange) -> None:
    await exchange.repeat(b"x", b"HTTP/1.1 200 OK\r\nx-slow: ", 0.01)


async def trickling_body(exchange: Exchange) -> None:
    await exchange.repeat(b"w", b"HTTP/1.1 200 OK\r\ncontent-length: 7000\r\n\r\n", 0.01)


async def few_bytes(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 206 x\r\ncontent-length: 7000\r\n\r\nw")


async def processing(exchange: Exchange) -> None:
    await exchange.repeat(b"HTTP/1.1 102 Processing\r\n\r\n", pause_seconds=0.001)


@pytest.mark.parametrize("answer", [trickling_headers, trickling_body, few_bytes, processing])
async def test_a_download_that_trickles_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    """Each byte counted as progress, and headers had no limit."""
    monkeypatch.setattr(http, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(http, "_ANSWER_SECONDS", 0.2)
    async with pulling(store, {"x": manifest}, {"x": answer}) as made:
        with pytest.raises(SourceFailed, match="failed"):
            await pull(made, "evil.example/team/x")


@asynccontextmanager
async def pushing(store: Store, url: str) -> AsyncIterator[Pushes]:
    """To the registry at this URL."""
    client = SourceClient()
    sources = Sources(client, frozenset({"evil.example"}), {"evil.example": url})
    try:
        yield Pushes(store, client, sources.registry_of)
    finally:
        await client.close()


async def test_a_push_whose_answer_trickles_is_given_up(
    store: Store, put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_ANSWER_SECONDS", 0.2)
    put_model("evil.example/team/x")
    async with (
        serving(HostileSource(blobs={"x": trickling_headers})) as source,
        pushing(store, source.url) as made,
    ):
        with pytest.raises(SourceFailed, match="cannot be reached"):
            await taken(made.push(name("evil.example/team/x"), insecure=False))


async def test_long_challenges_are_read_in_one_pass() -> None:
    """Their length squared had stopped the whole host for most of a minute."""
    async with aiohttp.ClientSession() as session:
        auth = RegistryAuth(DockerConfig())
        challenges = [f"Bearer {'a' * 8000}"] * 50
        with within_cpu(_MOST_SECONDS):
            assert not await auth.accept(session, "http://evil.example", challenges)


def test_long_names_of_a_hub_are_searched_at_their_end() -> None:
    paths = [f"{'_Q1' * 20_000}!.gguf", "model-Q4_K_M.gguf"]
    with within_cpu(_MOST_SECONDS):
        assert [path for _, path, _ in chosen_files(name("hf.co/team/x:Q4_K_M"), paths)] == [paths[1]]


_NAMED = {"id": "team/x", "sha": "c" * 40}


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ({**_NAMED, "sha": {"x": 1}, "siblings": [{"rfilename": "x-Q4_K_M.gguf", "size": 1}]}, "no text"),
        ({**_NAMED, "siblings": [{"rfilename": str(number)} for number in range(20_000)]}, "16384 files"),
        ([], "'list' object"),
    ],
    ids=["revision", "many files", "no object"],
)
async def test_lists_of_a_hub_that_cannot_be_used(store: Store, listed: object, reason: str) -> None:
    async def answer(exchange: Exchange) -> None:
        await exchange.answer(json.dumps(listed).encode())

    async with pulling(store, {"x": answer}, {}) as made:
        with pytest.raises(SourceFailed, match=f"cannot be read.*{reason}"):
            await pull(made, "hf.co/team/x")


async def test_only_so_many_models_are_pulled_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another caller of one that is pulled is not one more."""
    monkeypatch.setattr(pulls, "_MAX_PULLS", 1)

    async def hang(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    async with pulling(store, {"x": hang, "y": hang}, {}) as made:
        async with aclosing(made.pull(name("evil.example/team/x"), insecure=False)) as first:
            await anext(first)
            with pytest.raises(QueueFull, match="1 pulls run"):
                await pull(made, "evil.example/team/y")
            async with aclosing(made.pull(name("evil.example/team/x"), insecure=False)) as second:
                assert (await anext(second)).status == "pulling manifest"
        with pytest.raises(DroverError) as other:
            await asyncio.wait_for(pull(made, "evil.example/team/gone"), 10)
        assert type(other.value) is NotTransferable


async def test_only_so_many_pushes_run_at_once(
    store: Store, put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has a piece of a file in memory."""
    monkeypatch.setattr(pushes, "_MAX_PUSHES", 1)
    put_model("evil.example/team/x")
    async with pushing(store, "http://127.0.0.1:1") as made:
        async with aclosing(made.push(name("evil.example/team/x"), insecure=False)) as first:
            await anext(first)
            with pytest.raises(QueueFull, match="1 pushes run"):
                await anext(made.push(name("evil.example/team/x"), insecure=False))
        async with aclosing(made.push(name("evil.example/team/x"), insecure=False)) as next_one:
            assert (await anext(next_one)).status == "retrieving manifest"
