"""Models of uploaded files: what is taken, what is refused, and what they are described as."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Sequence
from threading import Event, Thread

import pytest

from drover.errors import InvalidRequest
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from engine_worker.engines import model_overrides
from engine_worker.host.models import safetensors_check
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.gguf import GgufReader
from engine_worker.host.models.model_settings import (
    ModelSettings,
)
from engine_worker.host.models.records import LoadRecord
from engine_worker.host.models.safetensors import SafetensorsReader
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.store.manifest import FILE, LICENSE, MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from engine_worker.settings import WorkerSettings
from tests.unit.engine_worker.host.conftest import name, put_blob
from tests.unit.engine_worker.host.models.conftest import CONFIG, create, gguf_header, safetensors


def test_a_gguf_file_becomes_a_model_of_llamacpp(
    store: Store, creation: Creation, catalog: Catalog, gguf: bytes
) -> None:
    parameters = json.dumps({"temperature": 0.5, "num_ctx": 1024, "unknown": 1})
    create(store, creation, {"model.gguf": gguf}, system="Be brief.", parameters_json=parameters)
    catalog.refresh()
    model = catalog.find(name("made"))
    assert model.engine == "llamacpp"
    assert (model.card.format, model.card.family, model.card.context_length) == ("gguf", "llama", 1024)
    assert (model.card.system, model.card.defaults.temperature) == ("Be brief.", 0.5)
    assert model.card.capabilities.completion
    flags = list(model.flags)
    assert flags[flags.index("--context-length") + 1] == "1024"
    assert model.needs.memory_bytes > len(gguf)


def test_its_files_stay_while_the_store_is_pruned(store: Store, gguf: bytes) -> None:
    """Until it is listed, no model has them."""
    read = GgufReader(store)

    def pruning(name: ModelName, manifest: Manifest, settings: ModelSettings) -> StoredModel | None:
        assert store.prune() == (0, 0)
        return read(name, manifest, settings)

    create(store, Creation(store, [pruning]), {"model.gguf": gguf}, system="Be brief.")
    assert store.find(name("made")).of_type(MODEL)


def test_a_go_template_says_what_the_model_can_do(
    store: Store, creation: Creation, catalog: Catalog, gguf: bytes
) -> None:
    create(store, creation, {"a": gguf}, template="{{ .System }}{{ .Prompt }}{{ .Suffix }}")
    catalog.refresh()
    card = catalog.find(name("made")).card
    assert (card.template_source, card.capabilities.insert) == ("go_template", True)


def test_safetensors_become_a_model_of_sglang(store: Store, creation: Creation, catalog: Catalog) -> None:
    files = {"model.safetensors": safetensors(), "config.json": json.dumps(CONFIG).encode()}
    create(store, creation, files)
    catalog.refresh()
    model = catalog.find(name("made"))
    assert (model.engine, model.unusable, model.card.family) == ("sglang", "", "llama")
    assert model.card.parameter_count == 4
    info = json.loads(model.card.model_info_json)
    assert (info["general.architecture"], info["llama.context_length"]) == ("llama", 2048)
    # Its worker knows the name of a folder of the store only.
    worker = pb.Model(names=["made"], model_info_json='{"general.basename": "sha256-1"}')
    catalog.learn(model, LoadRecord(card=worker))
    assert json.loads(catalog.card(model).model_info_json)["general.basename"] == "made"


@pytest.mark.parametrize(("dtype", "value_bytes", "more_bytes"), [("BF16", 2, 2000), ("F32", 4, 0)])
def test_on_a_cpu_weights_of_two_bytes_count_with_four(
    store: Store, creation: Creation, dtype: str, value_bytes: int, more_bytes: int
) -> None:
    """SGLang computes in float32 there."""
    weights, config = safetensors(dtype, 1000, value_bytes), json.dumps(CONFIG).encode()
    create(store, creation, {"model.safetensors": weights, "config.json": config})
    read, manifest = SafetensorsReader(store, python="python3"), store.find(name("made"))
    wide, narrow = (
        read(name("made"), manifest, ModelSettings(flags=flags))
        for flags in ((), ("--sglang-args=--dtype bfloat16",))
    )
    assert wide is not None
    assert narrow is not None
    # Two layers with four heads of 16, keys and values.
    kv_bytes = 32_768 * 2 * 4 * 16 * 2 * 2
    assert wide.needs.memory_bytes - narrow.needs.memory_bytes == more_bytes + kv_bytes
    assert wide.card.loaded_size_bytes - narrow.card.loaded_size_bytes == more_bytes + kv_bytes


def test_without_sglang_the_error_says_how_to_get_it(store: Store) -> None:
    creation = Creation(store, [SafetensorsReader(store, python="")])
    create(store, creation, {"model.safetensors": safetensors(), "config.json": json.dumps(CONFIG).encode()})
    model = SafetensorsReader(store, python="")(name("made"), store.find(name("made")), ModelSettings())
    assert model is not None
    assert "--sglang-python" in model.unusable


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "neither GGUF nor safetensors"),
        ({"a.txt": b"hello"}, "neither GGUF nor safetensors"),
        ({"a.gguf": b"GGUF", "b.gguf": b"GGUF "}, "2 GGUF files"),
        ({"a.gguf": b"GGUF and nothing else"}, "version 1684955424 of GGUF"),
        ({"a.gguf": gguf_header(1 << 60, 1)}, "claims 1 metadata keys and 1152921504606846976 tensors"),
        ({"a.gguf": gguf_header(1, 1 << 60)}, "claims 1152921504606846976 metadata keys"),
        ({"a.gguf": gguf_header(0, 1) + struct.pack("<Q", 1 << 62)}, "cut off, or longer"),
        (
            {"a.gguf": gguf_header(0, 1) + b"\1\0\0\0\0\0\0\0k" + struct.pack("<IIQ", 9, 8, 1000)},
            "cut off",
        ),
        (
            {"a.gguf": gguf_header(0, 1) + b"\1\0\0\0\0\0\0\0k" + struct.pack("<IIQ", 9, 8, 1 << 62)},
            "claims lists of 4611686018427387904 texts; at most 2097152 are read",
        ),
        ({"model.safetensors": safetensors()}, r"no config\.json"),
        ({"model.safetensors": safetensors(), "config.json": b"{"}, "not JSON"),
        ({"model.safetensors": safetensors(), "pytorch_model.bin": b"x"}, "pickled weights"),
        ({"model.safetensors": struct.pack("<Q", 1 << 62), "config.json": b"{}"}, "not a safetensors file"),
    ],
)
def test_files_that_make_no_model(
    store: Store, creation: Creation, files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        create(store, creation, files)
    assert list(store.models()) == []


@pytest.mark.parametrize("system", ["--verbose", "Be brief. " * 20_000])
def test_a_system_message_may_look_like_a_flag_or_be_longer_than_one(
    store: Store, creation: Creation, catalog: Catalog, gguf: bytes, system: str
) -> None:
    """Linux allows an argument of a command 128 KiB."""
    create(store, creation, {"a": gguf}, system=system)
    catalog.refresh()
    flags = list(catalog.find(name("made")).flags)
    settings = WorkerSettings.load(flags)
    subprocess.run(["true", *flags], check=True)
    assert model_overrides(settings).system == system


def test_parameters_that_are_longer_than_a_flag(store: Store, creation: Creation, gguf: bytes) -> None:
    parameters = json.dumps({"stop": ["a" * 1000] * 200})
    with pytest.raises(InvalidRequest, match="parameters are longer than 100000 bytes"):
        create(store, creation, {"a": gguf}, parameters_json=parameters)
    assert list(store.models()) == []


def test_a_simulated_model_is_not_taken_from_others(store: Store) -> None:
    """Its flags are those of a worker, which may run anything."""
    data = json.dumps({"memory_bytes": 1, "flags": ["--engine", "llamacpp"]}).encode()
    manifest = Manifest([Layer(SIMULATED, put_blob(store, data), len(data))])
    with pytest.raises(InvalidRequest, match="put into a store by its operator"):
        Creation(store, [SimulatedReader(store)]).check(name("made"), manifest)


def test_pickled_weights_are_not_pulled_either(store: Store, creation: Creation) -> None:
    files = {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"x"}
    layers = [Layer(FILE, put_blob(store, data), len(data), title) for title, data in files.items()]
    with pytest.raises(InvalidRequest, match=r"pytorch_model\.bin: pickled weights are not taken"):
        creation.check(name("made"), Manifest(layers))


def test_files_of_subfolders_do_not_replace_those_of_the_top(store: Store, creation: Creation) -> None:
    """Ollama's CLI sends them too."""
    files = {"model.safetensors": safetensors(), "config.json": json.dumps(CONFIG).encode()}
    create(store, creation, {**files, "a/config.json": b"[]", "onnx/config.json": b"[]"})
    titles = [layer.title for layer in store.find(name("made")).of_type(FILE)]
    assert titles == ["config.json", "model.safetensors"]


def test_one_file_under_many_names_takes_bounded_memory(
    store: Store, creation: Creation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safetensors_check, "_MAX_HEADERS_BYTES", 10 * len(safetensors()))
    weights, config = safetensors(), json.dumps(CONFIG).encode()
    layers = [Layer(FILE, put_blob(store, config), len(config), "config.json")]
    layers += [
        Layer(FILE, put_blob(store, weights), len(weights), f"{number}.safetensors") for number in range(20)
    ]
    with pytest.raises(InvalidRequest, match="headers of the safetensors files have more than"):
        creation.check(name("made"), Manifest(layers))


@pytest.mark.parametrize(
    ("licenses", "words"),
    [
        ([f"{number}" for number in range(65)], "has 65 licences; at most 64 are read"),
        ([f"{number}" + "a" * 1_000_000 for number in range(9)], r"texts have 900\d{4} bytes together"),
    ],
)
def test_a_description_is_bounded(
    store: Store, creation: Creation, gguf: bytes, licenses: Sequence[str], words: str
) -> None:
    """Frontends keep that of every model in memory."""
    with pytest.raises(InvalidRequest, match=words):
        create(store, creation, {"a": gguf}, licenses=licenses)
    assert list(store.models()) == []


def test_a_licence_counts_once_however_often_a_manifest_names_it(store: Store, gguf: bytes) -> None:
    layers = [
        Layer(MODEL, put_blob(store, gguf), len(gguf)),
        *[Layer(LICENSE, put_blob(store, b"MIT"), 3)] * 9,
    ]
    model = GgufReader(store)(name("made"), Manifest(layers), ModelSettings())
    assert model is not None
    assert model.card.licenses == ["MIT"]


def test_a_blob_that_was_not_uploaded(creation: Creation) -> None:
    request = host_pb2.CreateRequest(files={"a": f"sha256:{'0' * 64}"})
    with pytest.raises(InvalidRequest, match="upload it first"):
        creation.create(name("made"), request)


def test_a_refresh_that_began_earlier_does_not_hide_a_newer_model(
    store: Store, creation: Creation, catalog: Catalog, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_read, may_end, models = Event(), Event(), store.models

    def slow_models() -> Sequence[tuple[ModelName, Manifest]]:
        found = models()
        if not has_read.is_set():
            has_read.set()
            assert may_end.wait(10)
        return found

    monkeypatch.setattr(store, "models", slow_models)
    earlier, later = Thread(target=catalog.refresh), Thread(target=catalog.refresh)
    earlier.start()
    assert has_read.wait(10)
    create(store, creation, {"a": gguf})
    later.start()
    # Without waiting for the earlier one it ends in this time.
    later.join(0.2)
    may_end.set()
    for thread in (earlier, later):
        thread.join()
    assert catalog.find(name("made")).engine == "llamacpp"
