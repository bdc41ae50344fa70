"""The models of a store: which name of a manifest counts, and what files may claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drover.names import ModelName
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.model_settings import ModelRules, ModelSettings, read_model_settings
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.store.manifest import Manifest
from engine_worker.host.store.store import Store
from tests.support.hosts import put
from tests.unit.engine_worker.host.conftest import name


def text_of(**fields: int) -> bytes:
    return json.dumps({"memory_bytes": 1, "flags": [], **fields}).encode()


def test_of_names_for_one_manifest_the_pinned_one_counts(store: Store, tmp_path: Path) -> None:
    """Its worker is started as pinned, and not evicted and loaded again for ever."""
    for text in ("a", "b", "c"):
        put(store, text, SIMULATED, text_of())
    rules = ModelRules(read_model_settings('{"b": {"pinned": true}, "c": {"pinned": true}}'))
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(tmp_path / "loads"), rules)
    catalog.refresh()
    found = catalog.with_key(catalog.find(name("a")).key)
    assert found is not None
    assert (found.name.short, found.is_pinned) == ("b:latest", True)


@pytest.mark.parametrize("fields", [{"gpu_bytes": -1}, {"gpus": -1}, {"gpus": 1, "gpu_bytes": 1 << 70}])
def test_a_model_that_claims_what_no_machine_has_is_not_listed(
    store: Store, tmp_path: Path, fields: dict[str, int]
) -> None:
    """Its numbers would fit into no message to frontends."""
    put(store, "odd", SIMULATED, text_of(**fields))
    put(store, "one", SIMULATED, text_of())
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(tmp_path / "loads"))
    catalog.refresh()
    assert [model.name.short for model in catalog.models] == ["one:latest"]


@pytest.mark.parametrize("memory_bytes", [-1, 1 << 63])
def test_memory_that_no_machine_has(memory_bytes: int) -> None:
    with pytest.raises(ValueError, match=f"{memory_bytes} bytes of memory"):
        Needs(memory_bytes)


def test_a_file_that_a_library_fails_at_does_not_end_the_host(store: Store, tmp_path: Path) -> None:
    def read(name: ModelName, manifest: Manifest, settings: ModelSettings) -> StoredModel | None:
        if name.short == "odd:latest":
            raise TypeError("'int' object is not iterable")
        return SimulatedReader(store)(name, manifest, settings)

    put(store, "odd", SIMULATED, text_of())
    put(store, "one", SIMULATED, text_of())
    catalog = Catalog(store, [read], LoadRecords(tmp_path / "loads"))
    catalog.refresh()
    assert [model.name.short for model in catalog.models] == ["one:latest"]
