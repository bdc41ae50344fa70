"""The models of a store: which name of a manifest counts, and what files may claim."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from drover.names import ModelName
from engine_worker.host.models.base import Needs, StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.model_settings import ModelRules, ModelSettings, read_model_settings
from engine_worker.host.models.records import LoadRecord, LoadRecords
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


def test_a_model_is_as_old_as_its_manifest(store: Store, tmp_path: Path) -> None:
    """Its files may be older: then another host's model of the name would count as newer."""
    put(store, "a", SIMULATED, text_of())
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(tmp_path / "loads"))
    (path,) = (each for each in (tmp_path / "store" / "manifests").rglob("*") if each.is_file())
    for seconds in (1_000, 2_000):
        os.utime(path, (seconds, seconds))
        catalog.refresh()
        assert catalog.card(catalog.find(name("a"))).modified_unix_ns == seconds * 10**9
    made = catalog.find(name("a"))
    catalog.refresh()
    assert catalog.find(name("a")) is made


def test_records_of_loads_go_with_their_models(store: Store, tmp_path: Path) -> None:
    """Also one that a worker writes when its model is gone, and one that a crash has cut off."""
    folder = tmp_path / "loads"
    for text, memory_bytes in (("a", 1), ("b", 2)):
        put(store, text, SIMULATED, text_of(memory_bytes=memory_bytes))
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(folder))
    catalog.refresh()
    removed, kept = catalog.find(name("a")), catalog.find(name("b"))
    for model in (removed, kept):
        catalog.learn(model, LoadRecord(memory_bytes=100))
        catalog.keep(model)
    (cut_off,) = (path.with_suffix(".new") for path in folder.iterdir() if removed.key[7:] in path.name)
    cut_off.write_bytes(b"{")
    store.delete(removed.name)
    catalog.refresh()
    catalog.learn(removed, LoadRecord(memory_bytes=200))
    catalog.keep(removed)
    assert [path.stem for path in folder.iterdir()] == [kept.key.replace(":", "-")]
    catalog.refresh()
    assert list(catalog.loads) == [kept.key]
    anew = Catalog(store, [SimulatedReader(store)], LoadRecords(folder))
    anew.refresh()
    assert anew.record(kept).memory_bytes == 100


def test_models_that_cannot_be_used_keep_their_records(store: Store, tmp_path: Path) -> None:
    """With other flags of the host, such as those of `drover-host list`, they may be read again."""
    put(store, "a", SIMULATED, text_of())
    catalog = Catalog(store, [SimulatedReader(store)], LoadRecords(tmp_path / "loads"))
    catalog.refresh()
    model = catalog.find(name("a"))
    catalog.learn(model, LoadRecord(memory_bytes=100))
    catalog.keep(model)
    Catalog(store, [], LoadRecords(tmp_path / "loads")).refresh()
    catalog.refresh()
    assert len(list((tmp_path / "loads").iterdir())) == 1


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
