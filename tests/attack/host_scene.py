"""A scene with a worker host: its worker serves the polite clients while the host is attacked."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import orjson

from tests.attack.figures import Figures, HostCosts
from tests.attack.host_leftovers import HostHeld, check_store
from tests.attack.leftovers import rss_mb
from tests.attack.scene import SHORT, WORKER, Attack, Scene, measured
from tests.chaos.fleet import MODEL, Fleet
from tests.support.hosts import host, put_simulated
from tests.support.processes import Process, frontend
from tests.support.waiting import wait_until

DISK_MIB = 96
# Of the host, over what it had before: answers of 16 MiB and blocks of downloads, a few at a time.
_MOST_MB = 250.0
_SETTLE_SECONDS = 20.0
_READY_SECONDS = 60.0
_PINNED = json.dumps({MODEL: {"pinned": True}})


@dataclass
class HostScene:
    """`models`: what the store must list at the end; `elsewhere`: what other hosts do."""

    scene: Scene
    host: Process
    store: Path
    models: set[str]
    before: HostHeld
    elsewhere: set[str] = field(default_factory=set)

    def measure_anew(self) -> None:
        """After a rehearsal that was made within the scene."""
        self.before = HostHeld.of(self.host)

    @property
    def url(self) -> str:
        return self.scene.url

    @property
    def port(self) -> int:
        return self.scene.port

    @property
    def notes(self) -> list[str]:
        return self.scene.notes


@contextmanager
def hosted_fleet(
    folder: Path,
    sources: Sequence[str] = ("none",),
    frontend_flags: Sequence[str] = SHORT,
    more_hosts: Sequence[str] = (),
) -> Iterator[tuple[Fleet, Process]]:
    """A host whose store has the polite clients' model, in memory. `more_hosts`: addresses."""
    store = folder / "store"
    put_simulated(store, [MODEL], 100, *WORKER)
    flags = [
        *("--sources", ",".join(sources), "--disk-mib", str(DISK_MIB)),
        *("--memory-mib", "250", "--model-settings", _PINNED),
    ]
    with ExitStack() as processes:
        one = processes.enter_context(host(folder / "host.log", store, *flags))
        addresses = ",".join([one.address, *more_hosts])
        front = processes.enter_context(
            frontend(folder / "frontend.log", [], "--hosts", addresses, *frontend_flags)
        )
        wait_until(lambda: _is_loaded(front), _READY_SECONDS, "the model is in memory")
        # The fleet's worker is the host's: of it only the address counts.
        worker = replace(one, address=_worker_address(store))
        yield Fleet(folder, [worker], [front], flags, frontend_flags, processes), one


@asynccontextmanager
async def hosted(
    folder: Path,
    figures: Figures,
    sources: Sequence[str] = ("none",),
    frontend_flags: Sequence[str] = SHORT,
    rehearsed: Attack | None = None,
    more_hosts: Sequence[str] = (),
) -> AsyncIterator[HostScene]:
    """What is done in it is the attack. Besides what `measured` checks, AssertionError for what is left in
    the host, for what it took, and for what was written or listed that should not be.
    """
    with hosted_fleet(folder, sources, frontend_flags, more_hosts) as (fleet, one):
        async with measured(fleet, figures, rehearsed=rehearsed) as scene:
            attacked = HostScene(scene, one, folder / "store", {f"{MODEL}:latest"}, HostHeld.of(one))
            first_mb, costs = attacked.before.rss_mb, HostCosts()
            watch = asyncio.create_task(_watch_memory(one, costs), name="watch memory")
            try:
                yield attacked
            finally:
                watch.cancel()
        before = attacked.before
        after = await _settled(one, before)
        figures.host = replace(costs, before=before, after=after)
        assert not (why := after.why_more_than(before)), f"the host: {why}: {before}, then {after}"
        assert costs.peak_mb < first_mb + _MOST_MB, f"the host took {costs.peak_mb:.0f} MB"
        await _check_listed(attacked)
        check_store(folder, attacked.store, attacked.models)


async def _settled(one: Process, before: HostHeld) -> HostHeld:
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        held = HostHeld.of(one)
        if not held.why_more_than(before) or time.monotonic() > deadline:
            return held
        await asyncio.sleep(0.2)


async def _check_listed(attacked: HostScene) -> None:
    async with httpx.AsyncClient(base_url=attacked.url, timeout=30, trust_env=False) as http:
        listed = (await http.get("/api/tags")).json()["models"]
    names: set[str] = {each["name"] for each in listed}
    expected = attacked.models | attacked.elsewhere
    assert names == expected, names ^ expected


def _is_loaded(front: Process) -> bool:
    with suppress(httpx.HTTPError):
        listed = httpx.get(f"http://{front.address}/api/ps", timeout=5, trust_env=False).json()
        return [each["name"] for each in listed["models"]] == [f"{MODEL}:latest"]
    return False


def _worker_address(store: Path) -> str:
    (state,) = (store / "workers").glob("*/worker.json")
    address: str = orjson.loads(state.read_bytes())["address"]
    return address


async def _watch_memory(one: Process, costs: HostCosts) -> None:
    while True:
        costs.peak_mb = max(costs.peak_mb, rss_mb(one))
        await asyncio.sleep(0.05)
