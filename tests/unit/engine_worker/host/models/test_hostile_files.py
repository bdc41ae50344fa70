"""Files of clients that would fill a store with what no client can read or remove."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from drover.errors import InvalidRequest
from engine_worker.host.models.creation import Creation
from engine_worker.host.store.manifest import MAX_BYTES, MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.unit.engine_worker.host.conftest import name, put_blob
from tests.unit.engine_worker.host.models.conftest import CONFIG, create, safetensors

_MANY = {f"w{number}.safetensors": safetensors() for number in range(5000)}


def _views(store: Store) -> list[Path]:
    folder = store.blobs.path(f"sha256:{'0' * 64}").parents[1] / "views"
    return list(folder.iterdir()) if folder.is_dir() else []


def test_a_model_of_more_files_than_a_manifest_is_read_with_is_refused(
    store: Store, creation: Creation
) -> None:
    """It was put into the store, could not be read again, and then nothing could be removed any more."""
    with pytest.raises(InvalidRequest, match="more than 4096 layers"):
        create(store, creation, {**_MANY, "config.json": orjson.dumps(CONFIG)})
    store.prune()
    assert not store.models()
    assert not _views(store)


def test_a_manifest_that_is_longer_here_than_it_came_is_refused(store: Store) -> None:
    """White space and fields aside it is written anew, with what Ollama's have."""
    digest = put_blob(store, b"x")
    came = Manifest.parse(
        b'{"layers":[{"mediaType":"%b","digest":"%b","size":1}]}'
        % (b"x" * (MAX_BYTES - 200), digest.encode())
    )
    with pytest.raises(InvalidRequest, match="longer than"):
        store.put(name("long"), came)
    store.put(name("short"), Manifest([Layer(MODEL, digest, 1)]))
    store.prune()
    assert [each.short for each, _ in store.models()] == ["short:latest"]


def test_links_of_a_model_that_is_refused_are_removed(store: Store, creation: Creation) -> None:
    """Each one had left a folder of links, which counts against no budget."""
    files = {"model.safetensors": safetensors(), "config.json": b"no JSON"}
    for number in range(3):
        with pytest.raises(InvalidRequest, match="not JSON"):
            create(store, creation, files, system=f"{number}", template="{{ .Prompt }}")
    assert not _views(store)
    create(store, creation, {**files, "config.json": orjson.dumps(CONFIG)})
    listed = len(_views(store))
    assert listed
    with pytest.raises(InvalidRequest):
        create(store, creation, files, system="x")
    assert len(_views(store)) == listed
