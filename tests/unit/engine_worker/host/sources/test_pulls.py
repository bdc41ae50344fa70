"""Pulls from a registry: progress, cuts, shared downloads, and registries that lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from drover.errors import DroverError, InvalidRequest, NotTransferable, SourceFailed
from drover.names import ModelName
from drover.v1 import host_pb2
from engine_worker.host.metrics import HostCounts
from engine_worker.host.sources import http
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.store.manifest import MAX_BYTES, MODEL, Manifest
from engine_worker.host.store.store import Store
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of, name
from tests.unit.engine_worker.host.sources.registry import FakeRegistry, serving

PATH = "/v2/library/qwen3/manifests/8b"
NAME = "qwen3:8b"
DATA = bytes(range(256)) * 40


def anything(model: ModelName, manifest: Manifest) -> None:
    """No check of what the files are."""


@pytest.fixture
async def registry() -> AsyncIterator[FakeRegistry]:
    registry = FakeRegistry()
    async with serving(registry):
        yield registry


@pytest.fixture
def counts() -> HostCounts:
    return HostCounts()


@pytest.fixture
async def pulls(
    store: Store, registry: FakeRegistry, counts: HostCounts, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Pulls]:
    monkeypatch.setattr(http, "_FIRST_PAUSE_SECONDS", 0.001)
    client = SourceClient()
    host = "registry.ollama.ai"
    sources = Sources(client, frozenset({host}), {host: registry.url})

    async def changed() -> None:
        pass

    pulls = Pulls(store, client, sources.source_of, anything, changed, counts)
    yield pulls
    await pulls.stop()
    await client.close()


async def pull(pulls: Pulls, text: str = NAME) -> list[host_pb2.Progress]:
    return [step async for step in pulls.pull(name(text), insecure=False)]


async def test_a_model_is_in_the_store_after_a_pull(
    pulls: Pulls, registry: FakeRegistry, store: Store
) -> None:
    manifest = registry.put(PATH, DATA)
    steps = await pull(pulls)
    assert [steps[0].status, steps[-1].status] == ["pulling manifest", "success"]
    assert steps[-1].manifest == manifest.digest
    of_weights = [step for step in steps if step.digest == digest_of(DATA)]
    assert of_weights[-1].completed_bytes == of_weights[-1].total_bytes == len(DATA)
    assert store.find(name(NAME)) == manifest


async def test_what_is_there_is_not_fetched_again(pulls: Pulls, registry: FakeRegistry) -> None:
    registry.put(PATH, DATA)
    await pull(pulls)
    fetched = len(registry.ranges)
    await pull(pulls)
    assert len(registry.ranges) == fetched


async def test_a_cut_download_continues(pulls: Pulls, registry: FakeRegistry, store: Store) -> None:
    registry.put(PATH, DATA)
    registry.cut_after = [1000, 2000]
    await pull(pulls)
    assert registry.ranges[:3] == ["", "bytes=1000-", "bytes=3000-"]
    assert store.find(name(NAME)).size_bytes == len(DATA) + 2


async def test_a_source_without_ranges_begins_anew(
    pulls: Pulls, registry: FakeRegistry, store: Store
) -> None:
    registry.put(PATH, DATA)
    registry.cut_after, registry.ignores_ranges = [1000], True
    await pull(pulls)
    assert store.blobs.path(digest_of(DATA)).read_bytes() == DATA


async def test_a_download_that_gets_nowhere_fails(pulls: Pulls, registry: FakeRegistry, store: Store) -> None:
    registry.put(PATH, DATA)
    registry.cut_after = [0] * 100
    with pytest.raises(SourceFailed, match="failed"):
        await pull(pulls)
    assert list(store.models()) == []


async def test_two_pulls_share_one_download(pulls: Pulls, registry: FakeRegistry) -> None:
    registry.put(PATH, DATA)
    registry.gate.clear()
    both = [asyncio.create_task(pull(pulls)) for _ in range(2)]
    await until(lambda: len(registry.ranges) > 0, 30, "the download has begun")
    registry.gate.set()
    ends = [steps[-1].status for steps in await asyncio.gather(*both)]
    assert ends == ["success", "success"]
    # The weights and the configuration, once each.
    assert len(registry.ranges) == 2


async def test_a_pull_continues_for_the_client_that_is_left(pulls: Pulls, registry: FakeRegistry) -> None:
    registry.put(PATH, DATA)
    registry.gate.clear()
    staying = asyncio.create_task(pull(pulls))
    async with aclosing(pulls.pull(name(NAME), insecure=False)) as leaving:
        await anext(leaving)
    registry.gate.set()
    assert (await staying)[-1].status == "success"


async def test_a_cancelled_pull_keeps_what_it_has(
    pulls: Pulls, registry: FakeRegistry, store: Store, counts: HostCounts
) -> None:
    registry.put(PATH, DATA)
    registry.cut_after, registry.stops = [1000], True
    async with aclosing(pulls.pull(name(NAME), insecure=False)) as steps:
        async for step in steps:
            if step.completed_bytes:
                break
    assert list(store.models()) == []
    registry.gate.set()
    await pull(pulls)
    assert store.find(name(NAME)).size_bytes == len(DATA) + 2
    assert registry.ranges[-2] == "bytes=1000-"
    results = [
        counts.registry.get_sample_value("drover_host_pulls_total", {"result": result})
        for result in ("ok", "cancelled", "failed")
    ]
    assert results == [1.0, 1.0, None]


async def test_pruning_leaves_what_a_pull_has_already(
    pulls: Pulls, registry: FakeRegistry, store: Store
) -> None:
    registry.put(PATH, DATA)
    # The weights come, and what follows waits.
    registry.cut_after, registry.stops = [len(DATA)], True
    pulling = asyncio.create_task(pull(pulls))
    await until(lambda: len(registry.ranges) > 1, 30, "the second file is asked for")
    assert store.prune() == (0, 0)
    registry.gate.set()
    assert (await pulling)[-1].status == "success"


async def test_a_token_is_fetched_where_the_registry_wants_one(pulls: Pulls, registry: FakeRegistry) -> None:
    registry.put(PATH, DATA)
    registry.token = "for-everybody"
    assert (await pull(pulls))[-1].status == "success"


async def test_an_unknown_model(pulls: Pulls) -> None:
    with pytest.raises(NotTransferable, match="pull model manifest: file does not exist"):
        await pull(pulls)


async def test_a_source_that_the_operator_does_not_allow(pulls: Pulls) -> None:
    for _ in range(2):
        async with asyncio.timeout(30):
            with pytest.raises(NotTransferable, match=r"pulls nothing from evil\.example"):
                await pull(pulls, "evil.example/team/model")


async def test_a_source_that_is_away(store: Store) -> None:
    client = SourceClient()
    sources = Sources(client, frozenset({"registry.ollama.ai"}), {"registry.ollama.ai": "http://127.0.0.1:9"})

    async def changed() -> None:
        pass

    with pytest.raises(SourceFailed, match="cannot be reached"):
        await pull(Pulls(store, client, sources.source_of, anything, changed))
    await client.close()


def layer(data: bytes, size: int) -> bytes:
    fields = {"mediaType": MODEL, "digest": digest_of(data), "size": size}
    return json.dumps({"layers": [fields]}).encode()


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        (layer(DATA, len(DATA) - 1), InvalidRequest),
        (layer(b"other", len(DATA)), InvalidRequest),
        (layer(DATA, len(DATA) + 1), SourceFailed),
        (layer(DATA, 1 << 43), DroverError),
        (b"{" * 100, InvalidRequest),
        (b" " * (MAX_BYTES + 1), SourceFailed),
    ],
)
async def test_a_registry_that_lies_leaves_nothing_listed(
    pulls: Pulls, registry: FakeRegistry, store: Store, manifest: bytes, error: type[DroverError]
) -> None:
    registry.manifests[PATH] = manifest
    registry.blobs |= {digest_of(DATA): DATA, digest_of(b"other"): DATA}
    with pytest.raises(error):
        await pull(pulls)
    assert list(store.models()) == []
