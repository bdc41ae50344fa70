"""Models by name: only whole ones are listed, and shared files stay."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from drover.errors import InvalidRequest, ModelNotFound, StoreUnavailable
from drover.names import ModelName
from engine_worker.host.store.manifest import FILE, MODEL, Layer, Manifest
from engine_worker.host.store.manifests import Manifests
from engine_worker.host.store.store import Store, StoreInUse
from tests.unit.engine_worker.host.conftest import PutModel, digest_of, name, put_blob


def listed(store: Store) -> list[str]:
    return [found.short for found, _ in store.models()]


def test_a_model_is_found_in_any_letter_case(store: Store, put_model: PutModel) -> None:
    manifest = put_model("Qwen3:8B")
    assert listed(store) == ["Qwen3:8B"]
    assert store.find(name("qwen3:8b")) == manifest
    put_model("qwen3:8b", b"newer")
    assert listed(store) == ["Qwen3:8B"]


def test_one_model_is_found_without_reading_all(
    store: Store, put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be thousands."""
    manifest = put_model("team/Qwen3:8B")
    monkeypatch.setattr(Manifests, "_paths", None)
    put_model("other")
    assert store.find(name("TEAM/qwen3:8b")) == manifest


def test_manifests_may_go_while_others_are_put_and_read(tmp_path: Path) -> None:
    """Folders come and go with them."""
    manifests, manifest = Manifests(tmp_path), Manifest([])

    def come_and_go(model: str) -> None:
        for _ in range(50):
            manifests.put(name(model), manifest)
            assert manifests.find(name(model)) == manifest
            assert (name(model).key, manifest) in [(found.key, each) for found, each in manifests.all()]
            assert manifests.remove(name(model))

    with ThreadPoolExecutor() as threads:
        list(threads.map(come_and_go, ["team/a", "team/b", "team/b:c"]))
    assert list(manifests.all()) == []


def test_names_with_hosts_and_namespaces(store: Store, put_model: PutModel) -> None:
    put_model("registry.example:5000/team/model:tag")
    put_model("library/model")
    assert sorted(listed(store)) == ["model:latest", "registry.example:5000/team/model:tag"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"file/store \(--store\) cannot be used: Not a directory"):
        Store(tmp_path / "file" / "store")


def test_a_manifest_without_its_files_is_not_taken(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="does not have sha256:"):
        store.put(name("a"), Manifest([Layer(MODEL, digest_of(b"x"), 1)]))
    assert listed(store) == []


def test_a_model_whose_file_is_cut_off_is_not_listed(store: Store, put_model: PutModel) -> None:
    manifest = put_model("a", b"weights")
    store.blobs.path(manifest.layers[0].digest).write_bytes(b"wei")
    assert listed(store) == []
    with pytest.raises(ModelNotFound):
        store.find(name("a"))


def test_deleting_frees_only_what_no_other_model_has(store: Store, put_model: PutModel) -> None:
    put_model("a", b"shared", b"{}")
    put_model("b", b"shared", b"{ }")
    assert store.delete(name("a")) == len(b"{}")
    assert store.delete(name("b")) == len(b"shared") + len(b"{ }")
    assert listed(store) == []
    assert store.blobs.used_bytes == 0
    with pytest.raises(ModelNotFound):
        store.delete(name("a"))


def test_pruning_removes_unused_and_unfinished_files(store: Store, put_model: PutModel) -> None:
    put_model("a")
    put_blob(store, b"unused")
    partial = store.blobs.begin(digest_of(b"unfinished"), 10)
    partial.write(b"unf")
    partial.close()
    assert store.prune(dry_run=True) == (2, 9)
    assert store.prune() == (2, 9)
    assert store.prune() == (0, 0)
    assert listed(store) == ["a:latest"]


def test_nothing_is_removed_while_a_manifest_cannot_be_read(
    store: Store, put_model: PutModel, tmp_path: Path
) -> None:
    """Its files would look as if no model had them."""
    put_model("damaged")
    put_model("other", b"shared")
    path = tmp_path / "store" / "manifests" / "registry.ollama.ai" / "library" / "damaged" / "latest"
    text = path.read_bytes()
    path.write_bytes(b"{")
    assert store.delete(name("other")) == 0
    with pytest.raises(StoreUnavailable, match="the manifest of damaged:latest cannot be read"):
        store.prune()
    path.write_bytes(text)
    assert listed(store) == ["damaged:latest"]
    assert store.prune() == (1, len(b"shared"))


def test_files_that_are_held_stay(store: Store, put_model: PutModel) -> None:
    put_model("a", b"shared")
    with store.holding({digest_of(b"shared")}):
        assert store.delete(name("a")) == len(b"{}")
        assert store.prune() == (0, 0)
    assert store.prune() == (1, len(b"shared"))


def test_files_stay_of_a_model_that_is_made_meanwhile(
    store: Store, put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, and its files are held no more, after the others have been listed."""
    put_blob(store, b"shared")
    entries = store._manifests.entries

    def then_make() -> list[tuple[ModelName, Manifest | None]]:
        found = list(entries())
        put_model("made", b"shared")
        making.close()
        return found

    making = ExitStack()
    making.enter_context(store.holding({digest_of(b"shared"), digest_of(b"{}")}))
    monkeypatch.setattr(store._manifests, "entries", then_make)
    assert store.prune() == (0, 0)
    monkeypatch.undo()
    assert listed(store) == ["made:latest"]


def test_only_the_manifest_that_is_meant_is_deleted(store: Store, put_model: PutModel) -> None:
    old = put_model("a", b"old")
    put_model("a", b"new")
    with pytest.raises(ModelNotFound, match=old.digest):
        store.delete(name("a"), old.digest)
    assert listed(store) == ["a:latest"]


def test_files_that_an_upload_may_need_stay_for_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that is made of many, the first may have come long before the last. One that a client finds
    in the store, and does not upload, counts as new; the time of its contents stays.
    """
    other = store.blobs.path(put_blob(store, b"not asked for"))
    found = store.blobs.path(put_blob(store, b"found"))
    os.utime(found, (1, 1))
    # The kernel's clock has steps of some milliseconds.
    while found.stat().st_ctime <= other.stat().st_ctime:
        assert store.blobs.find(digest_of(b"found")) == len(b"found")
    assert found.stat().st_mtime == 1
    assert store.prune(older_than_seconds=1000) == (0, 0)
    between = (found.stat().st_ctime + other.stat().st_ctime) / 2
    monkeypatch.setattr("engine_worker.host.store.store.time.time", lambda: between + 1000)
    assert store.prune(older_than_seconds=1000) == (1, len(b"not asked for"))
    assert found.exists()


def test_a_folder_has_the_named_files(store: Store) -> None:
    config = put_blob(store, b"{}")
    manifest = Manifest([Layer(FILE, config, 2, "config.json")])
    store.put(name("a"), manifest)
    folder = store.folder_of(manifest)
    assert (folder / "config.json").read_bytes() == b"{}"
    assert store.folder_of(manifest) == folder


def test_views_go_with_their_models(tmp_path: Path) -> None:
    store = Store(tmp_path)
    digests = {text: put_blob(store, text.encode()) for text in ("a", "b", "c")}
    for text, digest in digests.items():
        store.put(name(text), Manifest([Layer(MODEL, digest, 1)]))
        store.link(digest, "file")
    store.delete(name("a"))
    assert _views(tmp_path) == {digests["b"], digests["c"]}
    store.close()
    # By another program that has the store's layout.
    (tmp_path / "manifests" / "registry.ollama.ai" / "library" / "b" / "latest").unlink()
    Store(tmp_path).close()
    assert _views(tmp_path) == {digests["c"]}


def _views(folder: Path) -> set[str]:
    return {path.name.replace("-", ":") for path in (folder / "views").iterdir()}


def test_a_file_that_was_cut_off_can_be_put_again(tmp_path: Path) -> None:
    """Of a model, and one that no model has. The first had ended the start with the embedded model."""
    store = Store(tmp_path)
    for data in (b"weights", b"more"):
        put_blob(store, data)
    manifest = Manifest([Layer(MODEL, digest_of(b"weights"), 7)])
    store.put(name("a"), manifest)
    store.close()
    for data in (b"weights", b"more"):
        store.blobs.path(digest_of(data)).write_bytes(data[:3])
    opened = Store(tmp_path)
    assert opened.blobs.size(digest_of(b"weights")) is None
    for data in (b"weights", b"more"):
        assert opened.blobs.path(put_blob(opened, data)).read_bytes() == data
    opened.put(name("a"), manifest)
    assert listed(opened) == ["a:latest"]
    opened.close()


def test_a_file_is_not_removed_because_a_manifest_is_wrong(store: Store, put_model: PutModel) -> None:
    """Its bytes are what its digest says."""
    manifest = put_model("a")
    wrong = Manifest([Layer(MODEL, manifest.layers[0].digest, 1000)])
    store._manifests.put(name("b"), wrong)
    assert listed(store) == ["a:latest"]
    store.blobs._sound.clear()
    assert listed(store) == ["a:latest"]
    # It is read once for that.
    assert list(store.blobs._sound) == [manifest.layers[0].digest]


def test_one_process_has_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreInUse, match=r"another host uses .* name another folder"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()
