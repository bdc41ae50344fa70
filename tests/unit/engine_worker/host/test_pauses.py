"""When a model is loaded again whose worker has ended by itself, and what its requests are answered."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from drover.errors import DroverError
from engine_worker.host.learning import Learning
from engine_worker.host.memory.base import NoGpus
from engine_worker.host.memory.gpus import Gpus
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.plan import Demand, Resident, State
from engine_worker.host.pool import Pool
from engine_worker.host.store.store import Store
from engine_worker.host.workers.child import Child
from tests.support.hosts import put

LOAD_SECONDS = 120.0


class Hosted:
    """A pool with a model that is waited for, and the errors of its requests."""

    def __init__(self, store: Store, folder: Path) -> None:
        put(store, "one", SIMULATED, json.dumps({"memory_bytes": 60, "flags": []}).encode())
        self.catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(folder))
        self.catalog.refresh()
        (self.model,) = self.catalog.models
        self.pool = Pool(self.catalog, 100, 0.0, 0.0)
        self.errors: list[str] = []
        self._caller = self.pool.add_caller(self._on_failure)
        self.pool.set_waiting(self._caller, {self.model.key: Demand(self.model.key, 0, 0.0)})

    def _on_failure(self, model: StoredModel, error: DroverError) -> None:
        self.errors.append(error.message)

    def fail(self, began: float, was_killed: bool = True) -> float:
        """End a load that began then. Returns the pause in seconds."""
        child = SimpleNamespace(
            model=self.model, since=0.0, began=began, process=SimpleNamespace(was_killed=was_killed)
        )
        self.pool._pause_after(cast(Child, child), "its worker ended (signal 9)")
        return self.pool._pauses[self.model.key].seconds


@pytest.fixture
def hosted(store: Store, tmp_path: Path) -> Hosted:
    return Hosted(store, tmp_path / "loads")


def test_the_pauses_after_long_loads_grow(hosted: Hosted) -> None:
    """The load's own duration is no time in which nothing failed."""
    assert hosted.fail(time.monotonic() - LOAD_SECONDS) == 1.0
    assert hosted.errors == []
    hosted.pool._pauses[hosted.model.key].until -= LOAD_SECONDS
    assert hosted.fail(time.monotonic() - LOAD_SECONDS + 1) == 2.0
    assert "cannot be loaded" in hosted.errors[0]


def test_a_load_long_after_the_last_failure_is_a_first_one(hosted: Hosted) -> None:
    hosted.fail(time.monotonic())
    hosted.pool._pauses[hosted.model.key].until -= LOAD_SECONDS
    assert hosted.fail(time.monotonic()) == 1.0
    assert hosted.errors == []


def test_a_budget_that_pinned_models_exceed_is_none_for_others(
    hosted: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    """They may grow."""
    resident = Resident("pinned", State.READY, 120 << 20, is_pinned=True)
    child = SimpleNamespace(resident=lambda: resident, set_awaited=lambda is_awaited, now: None)
    hosted.pool.children["pinned"] = cast(Child, child)
    with caplog.at_level("WARNING", "drover.host"):
        for _ in range(2):
            hosted.pool._step()
    assert "this host has 0 MiB for it" in hosted.errors[0]
    # Once, for a pinned model too, which no request asks for.
    assert [record.message for record in caplog.records] == ["a model is not loaded"]


async def test_a_model_whose_file_was_damaged_is_not_started_and_not_listed_any_more(
    hosted: Hosted, store: Store
) -> None:
    """By something else than this host. The reason has no path of this machine."""
    (layer,) = hosted.model.manifest.files
    with store.blobs.path(layer.digest).open("r+b") as file:
        file.truncate(7)
    hosted.pool._step()
    reason = (
        f"its file {layer.digest} has 7 of {layer.size_bytes} bytes in the store; pull or create the model"
    )
    assert hosted.errors == [f"model 'one:latest' cannot be loaded: {reason} again"]
    await asyncio.gather(*hosted.pool._spawned)
    assert hosted.catalog.models == []
    # Nothing is started, and nothing fails again.
    hosted.pool._step()
    assert len(hosted.errors) == 1
    assert hosted.pool.children == {}


async def test_a_load_that_fails_has_its_files_compared_with_their_digests(
    hosted: Hosted, store: Store
) -> None:
    hosted.fail(time.monotonic(), was_killed=False)
    await asyncio.gather(*hosted.pool._spawned)
    assert hosted.catalog.models == [hosted.model]
    hosted.pool._pauses.clear()
    (layer,) = hosted.model.manifest.files
    # As many bytes, and others.
    store.blobs.path(layer.digest).write_bytes(b"x" * layer.size_bytes)
    hosted.fail(time.monotonic(), was_killed=False)
    await asyncio.gather(*hosted.pool._spawned)
    assert hosted.catalog.models == []
    assert store.blobs.size(layer.digest) is None


def grown(hosted: Hosted, measured: list[float]) -> Child:
    """It is pinned, and takes 70 bytes now."""

    async def measure() -> bool:
        measured.append(time.monotonic())
        return False

    child = SimpleNamespace(
        model=hosted.model,
        state=State.READY,
        is_learned=True,
        is_pinned=True,
        memory_bytes=70,
        measured_bytes=70,
        gpu_measured_bytes=0,
        last_used=time.monotonic(),
        place=SimpleNamespace(gpus=()),
        measure=measure,
    )
    return cast(Child, child)


async def test_the_growth_of_a_pinned_model_counts_for_its_next_load(hosted: Hosted) -> None:
    """Its own memory is not taken by others."""
    await Learning(hosted.catalog, 100, Gpus(NoGpus(), 0)).measure([grown(hosted, [])])
    assert hosted.catalog.needs(hosted.model).memory_bytes == 70


async def test_only_models_that_were_used_are_measured_again(hosted: Hosted) -> None:
    measured: list[float] = []
    child, learning = grown(hosted, measured), Learning(hosted.catalog, 100, Gpus(NoGpus(), 0))
    for _ in range(3):
        await learning.measure([child])
    assert len(measured) == 1
    child.last_used = time.monotonic()
    await learning.measure([child])
    assert len(measured) == 2
