"""A creation and a catalog over one store, and files to make models of."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence

import pytest

from drover.v1 import host_pb2
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.gguf import GgufReader
from engine_worker.host.models.records import LoadRecords
from engine_worker.host.models.safetensors import SafetensorsReader
from engine_worker.host.store.store import Store
from tests.unit.engine_worker.host.conftest import name, put_blob

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
}


@pytest.fixture
def creation(store: Store) -> Creation:
    return Creation(store, [GgufReader(store), SafetensorsReader(store, python="python3")])


@pytest.fixture
def catalog(store: Store, creation: Creation) -> Catalog:
    return Catalog(
        store, creation.readers, LoadRecords(store.blobs.path(f"sha256:{'0' * 64}").parent / "loads")
    )


def gguf_header(tensors: int, keys: int) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys)


def safetensors(dtype: str = "F32", count: int = 4, value_bytes: int = 4) -> bytes:
    size = count * value_bytes
    header = json.dumps({"w": {"dtype": dtype, "shape": [2, count // 2], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(size)


def create(
    store: Store,
    creation: Creation,
    files: dict[str, bytes],
    system: str = "",
    template: str = "",
    parameters_json: str = "",
    licenses: Sequence[str] = (),
    adapters: Mapping[str, bytes] | None = None,
    messages_json: str = "",
) -> None:
    digests = {path: put_blob(store, data) for path, data in files.items()}
    creation.create(
        name("made"),
        host_pb2.CreateRequest(
            files=digests,
            system=system,
            template=template,
            parameters_json=parameters_json,
            licenses=licenses,
            adapters={path: put_blob(store, data) for path, data in (adapters or {}).items()},
            messages_json=messages_json,
        ),
    )
