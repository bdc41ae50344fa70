"""What a host sends to frontends that watch it: models when they change, and little for each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.records import LoadRecord, LoadRecords
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.plan import Demand, State
from engine_worker.host.pool import Pool
from engine_worker.host.states import HostStates
from engine_worker.host.store.store import Store
from engine_worker.host.workers.child import Child, ChildPlace, Events
from engine_worker.host.workers.process import WorkerProcess
from engine_worker.host.workers.workers import Workers
from tests.support.hosts import put
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import name

_SECONDS = 30.0


@pytest.fixture
def catalog(store: Store, tmp_path: Path) -> Catalog:
    for number, text in enumerate(("one", "two", "three")):
        put(store, text, SIMULATED, b'{"memory_bytes": %d, "flags": []}' % (number + 1))
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(tmp_path / "loads"))
    catalog.refresh()
    return catalog


@pytest.fixture
def pool(catalog: Catalog) -> Pool:
    return Pool(catalog, 1000, 0.0, 60.0)


@pytest.fixture
def states(pool: Pool, store: Store) -> HostStates:
    return HostStates("this", pool, store.blobs)


class Watcher:
    """Reads the states, as many as there are."""

    def __init__(self, states: AsyncIterator[host_pb2.HostState]) -> None:
        self.received: list[host_pb2.HostState] = []
        self._states = states

    async def next(self) -> host_pb2.HostState:
        async with asyncio.timeout(_SECONDS):
            self.received.append(await anext(self._states))
        return self.received[-1]


@asynccontextmanager
async def watching(states: HostStates, takes_changes: bool = True) -> AsyncIterator[Watcher]:
    async with aclosing(states.watch(takes_changes)) as received:
        yield Watcher(received)


def names(models: host_pb2.StoredModels) -> set[str]:
    return {each.card.names[0] for each in models.models}


async def test_only_models_that_have_changed_are_sent(
    states: HostStates, pool: Pool, catalog: Catalog, store: Store
) -> None:
    async with watching(states) as watcher:
        first = await watcher.next()
        assert names(first.stored) == {"one:latest", "two:latest", "three:latest"}

        model = catalog.find(name("two"))
        catalog.learn(model, LoadRecord(5, 7, model.card))
        pool.notify()
        loaded = await watcher.next()
        assert not loaded.HasField("stored")
        assert [(each.card.names[0], each.load_ns) for each in loaded.changed_models] == [("two:latest", 7)]
        assert not loaded.removed_models

        store.delete(name("one"))
        put(store, "four", SIMULATED, b'{"memory_bytes": 4, "flags": []}')
        catalog.refresh()
        pool.notify()
        changed = await watcher.next()
        assert [each.card.names[0] for each in changed.changed_models] == ["four:latest"]
        assert list(changed.removed_models) == ["one:latest"]

    # One that begins to watch, as after a frontend's restart, gets all.
    async with watching(states) as watcher:
        assert names((await watcher.next()).stored) == {"two:latest", "three:latest", "four:latest"}


async def test_a_frontend_that_does_not_know_changes_gets_the_whole_list(
    states: HostStates, pool: Pool, catalog: Catalog
) -> None:
    async with watching(states, takes_changes=False) as watcher:
        await watcher.next()
        model = catalog.find(name("two"))
        catalog.learn(model, LoadRecord(5, 7, model.card))
        pool.notify()
        loaded = await watcher.next()
    assert names(loaded.stored) == {"one:latest", "two:latest", "three:latest"}
    assert not loaded.changed_models


async def test_an_empty_store_is_a_list_too(states: HostStates, catalog: Catalog, store: Store) -> None:
    for text in ("one", "two", "three"):
        store.delete(name(text))
    catalog.refresh()
    async with watching(states) as watcher:
        assert (await watcher.next()).HasField("stored")


def _child(pool: Pool, folder: Path) -> Child:
    model = pool.catalog.find(name("one"))
    place = ChildPlace("127.0.0.1:1", "unix:/none", folder)
    events = Events(pool.on_child_changed, pool.on_child_used, lambda child, reason: None)
    child = Child(
        model, place, cast("WorkerProcess", SimpleNamespace(was_killed=True)), 1, events, State.READY
    )
    pool.children[model.key] = child
    return child


async def test_requests_are_no_reason_to_send_a_state_for_each(
    states: HostStates, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with one request after another, of which each moves its expiry."""
    seconds = 0.1
    monkeypatch.setattr("engine_worker.host.states._USE_SECONDS", seconds)
    child = _child(pool, tmp_path)
    async with watching(states) as watcher:
        await watcher.next()

        async def read() -> None:
            while not (await watcher.next()).children[0].busy:
                pass

        began, reading = time.monotonic(), asyncio.create_task(read())
        for _ in range(200):
            child._on_report(pb.LoadReport(running_limit=8, loaded=True, expires_unix_ns=300 * 10**9))
            await asyncio.sleep(0)
            child._on_report(pb.LoadReport(running_limit=8, loaded=True, running=1))
            await asyncio.sleep(0)
        await reading
        assert len(watcher.received) - 1 <= (time.monotonic() - began) / seconds


async def test_a_change_of_the_state_is_sent_at_once(
    states: HostStates, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine_worker.host.states._USE_SECONDS", 2 * _SECONDS)
    child = _child(pool, tmp_path)
    async with watching(states) as watcher:
        await watcher.next()
        child.state = State.DRAINING
        child.events.changed()
        assert (await watcher.next()).children[0].state == host_pb2.Child.DRAINING
        # Nothing has changed since.
        pool.notify()
        more = asyncio.create_task(watcher.next())
        await asyncio.sleep(0.1)
        assert not more.done()
        more.cancel()
        await asyncio.wait({more})


async def test_a_defect_in_one_load_does_not_end_all_others(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("engine_worker.host.pool._FIRST_PAUSE_SECONDS", 0.01)
    started: list[str] = []

    class _Workers:
        def find_running(self, model_of: object) -> Sequence[Child]:
            return []

        def start(self, model: StoredModel, *_: object) -> Child:
            started.append(model.name.short)
            raise KeyError("a defect")

    pool.workers = cast("Workers", _Workers())
    pool.start()
    try:
        caller, key = pool.add_caller(lambda model, error: None), pool.catalog.find(name("one")).key
        pool.set_waiting(caller, {key: Demand(key, 0, time.monotonic())})
        await until(lambda: len(started) > 2, _SECONDS, "it is tried again")
    finally:
        await pool.stop()
    assert "a decision over models" in caplog.text


async def test_what_is_remembered_of_models_goes_with_them(
    pool: Pool, catalog: Catalog, store: Store, tmp_path: Path
) -> None:
    child = _child(pool, tmp_path)
    pool._evicted[child.model.key] = 1.0
    pool._pause_after(child, "its worker ended (signal 9)")
    del pool.children[child.model.key]
    store.delete(name("one"))
    await pool.refresh()
    assert not pool._evicted
    assert not pool._pauses


async def test_a_worker_that_an_earlier_host_has_let_drain_takes_no_requests(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, drained = _child(pool, tmp_path), list[Child]()
    monkeypatch.setattr(Child, "drain", lambda self: drained.append(self))
    child._on_report(pb.LoadReport(running_limit=8, loaded=True))
    assert not drained
    child._on_report(pb.LoadReport(running_limit=8, loaded=True, draining=True))
    assert drained == [child]


async def test_the_plan_looks_at_once_at_a_model_that_has_served(pool: Pool, tmp_path: Path) -> None:
    """It may be evicted from then on."""
    child = _child(pool, tmp_path)
    child._on_report(pb.LoadReport(running_limit=8, loaded=True))
    pool._wake.clear()
    child._on_report(pb.LoadReport(running_limit=8, loaded=True, prefill_tokens_done=5))
    assert child.has_served
    assert pool._wake.is_set()
