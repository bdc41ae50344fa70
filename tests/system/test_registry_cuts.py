"""Downloads from the real docker-registry over a connection that breaks: continued, shared, kept, pruned."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from drover.v1 import host_pb2
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.gguf import GgufReader
from engine_worker.host.sources import http
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.pulls import Pulls
from engine_worker.host.store.manifest import MODEL
from engine_worker.host.store.store import Store
from tests.support.docker_registry import docker_registry, put_model
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.unit.engine_worker.host.conftest import digest_of, name

MIB = 1 << 20
SIZE = 12 * MIB
MODEL_NAME = "registry.example/team/model:latest"
_BLOCK = 65536


@dataclass
class Line:
    """Between a host and a registry. `cuts`: after how many bytes the next connections end, one each.
    `halts_at`: nothing is carried beyond so many bytes.
    """

    port: int
    cuts: list[int] = field(default_factory=list)
    carried: int = 0
    halts_at: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        asking = asyncio.create_task(_carry(reader, back), name="carry what is asked")
        left = self.cuts.pop(0) if self.cuts else None
        try:
            while block := await there.read(_BLOCK if left is None else min(_BLOCK, left)):
                if self.halts_at is not None and self.carried >= self.halts_at:
                    await self.ended.wait()
                    return
                self.carried += len(block)
                writer.write(block)
                await writer.drain()
                left = None if left is None else left - len(block)
                if left == 0:
                    return
        except (OSError, asyncio.CancelledError):
            # At the end of the test; streams would log a cancelled handler.
            return
        finally:
            asking.cancel()
            # What was carried arrives.
            writer.close()
            back.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while block := await reader.read(_BLOCK):
        writer.write(block)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A GGUF file may have more behind its tensors."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_sentencepiece_gguf(path)
    return path.read_bytes().ljust(SIZE, b"\0")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, weights: bytes) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as url:
        put_model(url, "team/model", "latest", {MODEL: weights})
        yield url


@dataclass
class Running:
    line: Line
    pulls: Pulls
    store: Store

    async def pull(self) -> list[host_pb2.Progress]:
        return [step async for step in self.pulls.pull(name(MODEL_NAME), insecure=False)]


@asynccontextmanager
async def running(folder: Path, registry: str) -> AsyncIterator[Running]:
    line = Line(int(registry.rpartition(":")[2]))
    server = await asyncio.start_server(line.accepted, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store, client = Store(folder), SourceClient()
    sources = Sources(client, frozenset({"registry.example"}), {"registry.example": url})

    async def changed() -> None:
        pass

    pulls = Pulls(store, client, sources.source_of, Creation(store, [GgufReader(store)]).check, changed)
    try:
        yield Running(line, pulls, store)
    finally:
        line.ended.set()
        await pulls.stop()
        await client.close()
        server.close()
        store.close()


@pytest.fixture
async def pulling(tmp_path: Path, registry: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    monkeypatch.setattr(http, "_FIRST_PAUSE_SECONDS", 0.001)
    async with running(tmp_path / "store", registry) as pulling:
        yield pulling


async def test_a_download_that_is_cut_several_times_continues_where_it_was(
    pulling: Running, weights: bytes
) -> None:
    pulling.line.cuts = [4 * MIB, 4 * MIB]
    assert (await pulling.pull())[-1].status == "success"
    assert pulling.store.blobs.path(digest_of(weights)).read_bytes() == weights
    # What the client had read and not yet written comes twice; begun anew it would be 8 MiB.
    assert SIZE < pulling.line.carried < SIZE + 4 * MIB


async def test_four_pulls_share_one_download(pulling: Running) -> None:
    ends = await asyncio.gather(*(pulling.pull() for _ in range(4)))
    assert [steps[-1].status for steps in ends] == ["success"] * 4
    assert pulling.line.carried < SIZE + MIB


async def test_a_cancelled_pull_keeps_what_it_has_until_it_is_pruned(pulling: Running) -> None:
    pulling.line.halts_at = 4 * MIB
    async with aclosing(pulling.pulls.pull(name(MODEL_NAME), insecure=False)) as steps:
        async for step in steps:
            if step.completed_bytes >= MIB:
                break
    pulling.line.halts_at = None
    kept = pulling.store.blobs.used_bytes
    assert MIB <= kept <= 4 * MIB + _BLOCK
    assert pulling.store.models() == []
    assert pulling.store.prune(dry_run=True)[0] >= 1
    assert pulling.store.blobs.used_bytes == kept
    before = pulling.line.carried
    await pulling.pull()
    assert pulling.line.carried - before < SIZE - kept + MIB
    assert pulling.store.prune() == (0, 0)
    assert len(pulling.store.models()) == 1
