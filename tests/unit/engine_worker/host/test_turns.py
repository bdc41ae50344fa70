"""Whose turn it is: of models that wait for memory, the one whose requests wait longest."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import cast

from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.plan import Demand, Resident, State
from engine_worker.host.pool import Pool
from engine_worker.host.store.store import Store
from engine_worker.host.workers.child import Child
from tests.support.hosts import put


def test_a_model_that_made_room_does_not_get_its_memory_back_first(store: Store) -> None:
    """Its own requests have waited longer, which the host learns when its worker drains."""
    for text in ("one", "two"):
        put(store, text, SIMULATED, json.dumps({"memory_bytes": 60, "flags": [text]}).encode())
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(store.blobs.path("sha256:" + "0" * 64)))
    catalog.refresh()
    one, two = sorted(catalog.models, key=lambda each: each.name.short)
    pool, now = Pool(catalog, 100, 0.0, 0.0), time.monotonic()
    resident = Resident(one.key, State.READY, 60, requests=3)
    child = SimpleNamespace(
        model=one, resident=lambda: resident, drain=lambda: None, set_awaited=lambda is_awaited, now: None
    )
    pool.children[one.key] = cast(Child, child)
    caller = pool.add_caller(lambda model, error: None)
    pool.set_waiting(caller, {two.key: Demand(two.key, 0, now - 10)})
    pool._step()
    del pool.children[one.key]
    pool.set_waiting(caller, {two.key: Demand(two.key, 0, now - 10), one.key: Demand(one.key, 0, now - 1000)})
    assert list(pool.turns) == [two.key, one.key]
