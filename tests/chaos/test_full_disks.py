"""A worker host whose disk is really full: a small file system in memory, which needs root."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.chaos.clients import Crowd
from tests.chaos.hosts import FLAGS, SECONDS, SIMULATOR, all_whole, request
from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.processes import frontend
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of
from tests.unit.engine_worker.host.sources.registry import FakeRegistry, serving

MIB = 1 << 20
DISK_MIB, LARGE_MIB, HALF_MIB = 32, 40, 20


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Raises if it cannot be mounted: a test without it would prove nothing."""
    folder.mkdir()
    size = f"size={DISK_MIB}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], check=True, timeout=SECONDS)
    try:
        yield folder
    finally:
        # Also while a process that has just been ended still has files there.
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=SECONDS)


@dataclass
class Full:
    disk: Path
    client: httpx.AsyncClient
    registry: FakeRegistry

    def fill(self) -> Path:
        """Take all that is free."""
        filler = self.disk / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(MIB)):
                    pass
            except OSError:
                return filler
        raise AssertionError("the disk has no end")

    @property
    def used(self) -> int:
        stat = os.statvfs(self.disk)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    async def pull(self, model: str) -> dict[str, Any]:
        """The last line."""
        answer = await self.client.post("/api/pull", json={"model": model})
        return dict(orjson.loads(answer.text.splitlines()[-1]))

    async def tags(self) -> set[str]:
        return {each["model"] for each in (await self.client.get("/api/tags")).json()["models"]}

    async def generate(self) -> httpx.Response:
        body = {"model": "one", "prompt": "Hello", "stream": False, "options": {"num_predict": 3}}
        return await self.client.post("/api/generate", json=body)


@pytest.fixture
def gguf(tmp_path: Path) -> bytes:
    path = tmp_path / "tiny.gguf"
    write_sentencepiece_gguf(path)
    return path.read_bytes()


@pytest.fixture
async def full(tmp_path: Path, gguf: bytes) -> AsyncIterator[Full]:
    registry = FakeRegistry()
    # A GGUF file may have more behind its tensors.
    for model, mib in (("large", LARGE_MIB), ("half", HALF_MIB)):
        registry.put(f"/v2/library/{model}/manifests/latest", gguf + bytes(mib * MIB - len(gguf)))
    with small_disk(tmp_path / "disk") as disk:
        store = disk / "store"
        put_simulated(store, ["one"], 100, *SIMULATOR)
        async with serving(registry) as url:
            with (
                host(tmp_path / "host.log", store, *FLAGS, "--sources", f"registry.ollama.ai={url}") as one,
                frontend(tmp_path / "frontend.log", [], "--hosts", one.address) as front,
            ):
                async with httpx.AsyncClient(base_url=f"http://{front.address}", timeout=SECONDS) as client:
                    yield Full(disk, client, registry)
        for pid in worker_pids(store):
            os.kill(pid, signal.SIGKILL)


async def test_a_disk_that_fills_during_a_pull(full: Full) -> None:
    assert (await full.generate()).status_code == 200
    full.registry.cut_after, full.registry.stops = [MIB], True
    pulling = asyncio.create_task(full.pull("half"))
    await until(lambda: len(full.registry.ranges) > 1, SECONDS, "the download is continued")
    crowd = Crowd(str(full.client.base_url))
    crowd.send([request("one") for _ in range(8)])
    filler = full.fill()
    full.registry.gate.set()
    assert "cannot be written: No space left on device" in (await pulling)["error"]
    assert await full.tags() == {"one:latest"}
    # What is in memory still answers.
    await all_whole([crowd])
    filler.unlink()
    assert (await full.pull("half"))["status"] == "success"
    assert full.registry.ranges[-2].startswith("bytes=")
    assert await full.tags() == {"one:latest", "half:latest"}
    before = full.used
    assert (await full.client.request("DELETE", "/api/delete", json={"model": "half"})).status_code == 200
    assert full.used < before - HALF_MIB * MIB


async def test_pulls_uploads_and_models_that_do_not_fit(full: Full, gguf: bytes) -> None:
    before, data = full.used, gguf + bytes(LARGE_MIB * MIB)
    assert "that the store has free" in (await full.pull("large"))["error"]
    pulled = await full.client.post("/api/pull", json={"model": "large", "stream": False})
    uploaded = await full.client.post(f"/api/blobs/{digest_of(data)}", content=data)
    for refused in (pulled, uploaded):
        assert refused.status_code == 507, refused.text
        assert "that the store has free; remove models" in refused.json()["error"]
    assert full.registry.ranges == []
    assert (await full.client.head(f"/api/blobs/{digest_of(data)}")).status_code == 404
    assert full.used == before
    stored = await full.client.post(f"/api/blobs/{digest_of(gguf)}", content=gguf)
    assert stored.status_code == 201
    filler = full.fill()
    body = {"model": "made", "files": {"a.gguf": digest_of(gguf)}, "system": "Be brief.", "stream": False}
    made = await full.client.post("/api/create", json=body)
    assert made.status_code == 507, made.text
    assert "more than the 0 bytes that the store has free" in made.json()["error"]
    assert await full.tags() == {"one:latest"}
    # A load needs room for the log of its worker.
    loaded = await full.generate()
    assert (loaded.status_code, "No space left on device" in loaded.json()["error"]) == (500, True)
    filler.unlink()
    assert (await full.client.post("/api/create", json=body)).status_code == 200
    assert await full.tags() == {"one:latest", "made:latest"}

    async def is_loaded() -> bool:
        """After the pause that follows a failed load."""
        return (await full.generate()).status_code == 200

    await until(is_loaded, SECONDS, "it is loaded")
