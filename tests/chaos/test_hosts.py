"""Two worker hosts and two frontends under load: workers and hosts killed and stopped, a registry
that goes. No request fails, and nothing half-made is listed.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import orjson
import pytest

from tests.chaos.hosts import SECONDS, Hosts, all_whole, running_hosts
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.sources.registry import FakeRegistry, serving

# Less than the model that is pulled has, and than what is uploaded.
CUT_BYTES = 1024 * 1024


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Hosts]:
    with running_hosts(tmp_path) as fleet:
        yield fleet


async def test_workers_are_killed_and_stopped(fleet: Hosts) -> None:
    """One is killed, one is stopped and continued before it is given up."""
    crowds = fleet.crowds(24)
    await until(lambda: bool(fleet.pids(0)) and bool(fleet.pids(1)), SECONDS, "both hosts load")
    for _ in range(3):
        await asyncio.sleep(1.0)
        for number in (0, 1):
            if pids := fleet.pids(number):
                os.kill(pids[0], signal.SIGKILL)
    await until(lambda: bool(fleet.pids(0) + fleet.pids(1)), SECONDS, "a worker runs")
    stopped = (fleet.pids(0) + fleet.pids(1))[0]
    with suppress(ProcessLookupError):
        os.kill(stopped, signal.SIGSTOP)
        await asyncio.sleep(2.0)
        os.kill(stopped, signal.SIGCONT)
    await all_whole(crowds)


async def test_a_host_is_killed_in_mid_load_and_comes_back(fleet: Hosts) -> None:
    crowds = fleet.crowds(16)
    await until(lambda: bool(fleet.pids(0)), SECONDS, "a load is in progress")
    fleet.kill(0)
    before = set(fleet.pids(0))
    await asyncio.sleep(0.5)
    fleet.restart(0)
    await all_whole(crowds)
    assert "worker found again" in fleet.hosts[0].log_text()
    # What is noted is what runs, and nothing runs that is not noted.
    assert _running_of(fleet.stores[0]) == set(fleet.pids(0))
    assert before


async def test_a_registry_goes_in_mid_download(fleet: Hosts, tmp_path: Path) -> None:
    registry = _registry_with(tmp_path / "big.gguf")
    registry.cut_after, registry.stops = [CUT_BYTES], True
    async with serving(registry) as url:
        for number in (0, 1):
            fleet.kill(number)
            fleet.restart(number, "--sources", f"registry.ollama.ai={url}")
        crowds = fleet.crowds(8)
        async with httpx.AsyncClient(base_url=fleet.url(), timeout=SECONDS) as client:
            pulling = asyncio.create_task(_pull(client, "big"))
            await until(lambda: len(registry.ranges) > 1, SECONDS, "the download is continued")
            assert "big:latest" not in await _tags(client)
            registry.gate.set()
            assert (await pulling).get("status") == "success"

            async def is_listed() -> bool:
                return "big:latest" in await _tags(client)

            await until(is_listed, SECONDS, "it is listed")
        # The connection's end may come before the last of its bytes.
        continued = [int(each.removeprefix("bytes=").removesuffix("-")) for each in registry.ranges if each]
        assert continued
        assert all(0 < start <= CUT_BYTES for start in continued)
        await all_whole(crowds)


def _registry_with(path: Path) -> FakeRegistry:
    """With a model `big`, whose file is made at this path."""
    write_sentencepiece_gguf(path)
    registry = FakeRegistry()
    registry.put("/v2/library/big/manifests/latest", path.read_bytes())
    return registry


async def _pull(client: httpx.AsyncClient, model: str) -> dict[str, str]:
    """The last line."""
    answer = await client.post("/api/pull", json={"model": model})
    last: dict[str, str] = orjson.loads(answer.text.splitlines()[-1])
    return last


async def _tags(client: httpx.AsyncClient) -> set[str]:
    return {each["model"] for each in (await client.get("/api/tags")).json()["models"]}


def _running_of(store: Path) -> set[int]:
    """Processes whose output is a log of the store."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            output = str((entry / "fd" / "1").readlink())
        except OSError:
            continue
        if output.startswith(f"{store}/workers/"):
            found.add(int(entry.name))
    return found
