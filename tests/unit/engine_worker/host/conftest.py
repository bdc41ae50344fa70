from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drover.names import ModelName
from engine_worker.host.store.manifest import CONFIG, MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf

PutModel = Callable[..., Manifest]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def name(text: str) -> ModelName:
    parsed = ModelName.parse(text)
    assert parsed is not None
    return parsed


def put_blob(store: Store, data: bytes) -> str:
    return store.blobs.put(data)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def put_model(store: Store) -> PutModel:
    """Lists a model with one file of `data` and a configuration."""

    def put(text: str, data: bytes = b"weights", config: bytes = b"{}") -> Manifest:
        layers = [Layer(MODEL, put_blob(store, data), len(data))]
        manifest = Manifest(layers, Layer(CONFIG, put_blob(store, config), len(config)))
        store.put(name(text), manifest)
        return manifest

    return put


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_sentencepiece_gguf(path)
    return path.read_bytes()
