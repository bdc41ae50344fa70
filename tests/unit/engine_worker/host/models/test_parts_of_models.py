"""Adapters and messages as parts of a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy
import pytest

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.records import LoadRecord
from engine_worker.host.store.manifest import ADAPTER, MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.adapter_upload import files_of
from tests.support.adapters import write_peft_adapter, write_safetensors
from tests.unit.engine_worker.host.conftest import name, put_blob
from tests.unit.engine_worker.host.models.conftest import CONFIG, create


def attention(path: Path) -> bytes:
    """The weights that an adapter of the next function changes."""
    tensors = {
        f"model.layers.0.self_attn.{module}.weight": numpy.zeros((64, 64), numpy.float32)
        for module in ("v_proj", "o_proj")
    }
    write_safetensors(path, tensors)
    return path.read_bytes()


def peft(folder: Path, size: int = 64) -> Mapping[str, bytes]:
    one, other = numpy.ones((1, size), numpy.float32), numpy.ones((size, 1), numpy.float32)
    write_peft_adapter(folder, {"v_proj.A": one, "v_proj.B": other, "o_proj.A": one, "o_proj.B": other})
    return files_of(folder)


def test_the_files_of_peft_and_safetensors(
    store: Store, creation: Creation, catalog: Catalog, tmp_path: Path
) -> None:
    files = {"model.safetensors": attention(tmp_path / "base"), "config.json": json.dumps(CONFIG).encode()}
    create(store, creation, files, adapters=peft(tmp_path / "peft"))
    catalog.refresh()
    model = catalog.find(name("made"))
    assert model.takes_adapters
    assert not model.card.capabilities.safetensors_adapters
    assert len(model.card.adapter_digests) == 2
    flags = list(model.flags)
    folder = Path(flags[flags.index("--applied-adapter") + 1])
    assert {path.name for path in folder.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert all(path.is_file() for path in folder.iterdir())
    # What is pulled later may have the same form.
    creation.check(name("made"), store.find(name("made")))
    store.delete(name("made"))
    assert not folder.exists()
    assert store.blobs.used_bytes == 0


def test_an_adapter_of_another_model_is_refused(store: Store, creation: Creation, tmp_path: Path) -> None:
    files = {"model.safetensors": attention(tmp_path / "base"), "config.json": json.dumps(CONFIG).encode()}
    with pytest.raises(InvalidRequest, match="made for another model"):
        create(store, creation, files, adapters=peft(tmp_path / "peft", size=32))
    assert store.models() == []


@pytest.mark.parametrize("titles", [["", ""], ["adapter_config.json"], ["adapter.gguf", "other.gguf"], ["x"]])
def test_a_manifest_with_no_adapter_that_is_known(
    store: Store, creation: Creation, gguf: bytes, titles: list[str]
) -> None:
    layers = [Layer(ADAPTER, put_blob(store, b"GGUF"), 4, title) for title in titles]
    manifest = Manifest([Layer(MODEL, put_blob(store, gguf), len(gguf)), *layers])
    with pytest.raises(InvalidRequest, match="must be one GGUF file, or the two files"):
        creation.check(name("made"), manifest)


def test_messages_are_part_of_the_model(
    store: Store, creation: Creation, catalog: Catalog, gguf: bytes
) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    create(store, creation, {"a.gguf": gguf}, messages_json=json.dumps(said))
    catalog.refresh()
    model = catalog.find(name("made"))
    # Also once its worker, which does not know them, has described it.
    catalog.learn(model, LoadRecord(1, 1, pb.Model(names=["made"])))
    assert json.loads(catalog.card(model).messages_json) == said


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"role": "user"}]', '[{"role": 1, "content": ""}]'])
def test_messages_that_are_none(store: Store, creation: Creation, gguf: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest, match="the model's messages are"):
        create(store, creation, {"a.gguf": gguf}, messages_json=text)
