"""Models of uploaded files: what is taken, what is refused, and what they are described as."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event, Thread

import numpy
import pytest

from drover.errors import InvalidRequest
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from engine_worker.engines import model_overrides
from engine_worker.host.models import safetensors_check
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.models.creation import Creation
from engine_worker.host.models.gguf import GgufReader
from engine_worker.host.models.layers import value_of
from engine_worker.host.models.model_settings import (
    ModelRules,
    ModelSettings,
    read_engines,
    read_model_settings,
)
from engine_worker.host.models.records import LoadRecord, LoadRecords
from engine_worker.host.models.safetensors import SafetensorsReader
from engine_worker.host.models.simulated import SIMULATED, SimulatedReader
from engine_worker.host.store.manifest import ADAPTER, FILE, LICENSE, MODEL, Layer, Manifest
from engine_worker.host.store.store import Store
from engine_worker.settings import WorkerSettings
from tests.support.adapter_upload import files_of
from tests.support.adapters import write_peft_adapter, write_safetensors
from tests.support.tiny_bert_gguf import write_tiny_bert_gguf
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


def safetensors() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


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


def test_what_a_load_has_taught_is_remembered(
    store: Store, creation: Creation, catalog: Catalog, gguf: bytes
) -> None:
    create(store, creation, {"a": gguf}, licenses=["Apache-2.0"])
    catalog.refresh()
    model = catalog.find(name("made"))
    described = catalog.card(model)
    described.capabilities.tools = True
    # A worker does not know it.
    del described.licenses[:]
    catalog.learn(model, LoadRecord(memory_bytes=123, load_ns=4, card=described))
    catalog.keep(model)
    catalog.loads.clear()
    catalog.refresh()
    assert catalog.needs(model).memory_bytes == 123
    assert catalog.card(model).capabilities.tools
    assert catalog.card(model).licenses == ["Apache-2.0"]


def test_the_operators_settings_of_a_model_count(store: Store, creation: Creation, gguf: bytes) -> None:
    create(store, creation, {"a": gguf}, parameters_json='{"num_ctx": 1024}')
    text = '{"MADE*": {"context_length": 512, "slots": 2, "pinned": true, "flags": ["--threads", "1"]}}'
    catalog = Catalog(
        store, creation.readers, LoadRecords(store.blobs.path(f"sha256:{'0' * 64}").parent / "l")
    )
    catalog.refresh()
    configured = Catalog(
        store,
        creation.readers,
        LoadRecords(store.blobs.path(f"sha256:{'0' * 64}").parent / "l"),
        ModelRules(read_model_settings(text)),
    )
    configured.refresh()
    plain, model = catalog.find(name("made")), configured.find(name("made"))
    assert (model.is_pinned, model.card.context_length) == (True, 512)
    assert list(model.flags)[-4:] == ["--context-length", "512", "--slots", "2"]
    assert model.needs.memory_bytes < plain.needs.memory_bytes


@pytest.mark.parametrize(("parameters", "context_length"), [("", 256), ('{"num_ctx": 128}', 128)])
def test_the_environment_of_workers_counts_below_the_model_itself(
    store: Store, creation: Creation, gguf: bytes, parameters: str, context_length: int
) -> None:
    """OLLAMA_CONTEXT_LENGTH and OLLAMA_NUM_PARALLEL."""
    create(store, creation, {"a": gguf}, parameters_json=parameters)
    inherited = ["--context-length", "256", "--slots", "1"]
    model = GgufReader(store, inherited=inherited)(name("made"), store.find(name("made")), ModelSettings())
    plain = GgufReader(store)(name("made"), store.find(name("made")), ModelSettings())
    assert model is not None
    assert plain is not None
    assert model.card.context_length == int(value_of(model.flags, "--context-length")) == context_length
    assert model.needs.memory_bytes < plain.needs.memory_bytes


def test_an_engine_that_does_not_fit_the_files(store: Store, creation: Creation, gguf: bytes) -> None:
    create(store, creation, {"a": gguf})
    settings = ModelRules(read_model_settings('{"*": {"engine": "sglang"}}')).of(name("made"))
    model = GgufReader(store)(name("made"), store.find(name("made")), settings)
    assert model is not None
    assert "--engine-for or --model-settings asks for the engine sglang" in model.unusable
    assert "they are for llamacpp" in model.unusable


def test_any_model_can_be_simulated(store: Store, creation: Creation, gguf: bytes, tmp_path: Path) -> None:
    """With its name, its description and the memory that it would take, for load tests."""
    create(store, creation, {"a": gguf})
    rules = ModelRules(read_model_settings('{"made": {"slots": 2}}'), read_engines(["ma*=simulator"]))
    catalog = Catalog(store, creation.readers, LoadRecords(tmp_path / "loads"), rules)
    catalog.refresh()
    model = catalog.find(name("made"))
    assert (model.engine, model.card.engine_kind, model.card.format) == ("simulator", "simulator", "gguf")
    assert list(model.flags) == ["--model", "made:latest", "--slots", "2"]
    assert model.needs.memory_bytes > len(gguf)
    assert model.unusable == ""


def test_the_first_pattern_of_engine_for_counts_before_settings() -> None:
    rules = ModelRules(
        read_model_settings('{"qwen3:8b": {"engine": "llamacpp", "slots": 3}, "qwen*": {"slots": 4}}'),
        read_engines(["qwen3=sglang", "*=simulator"]),
    )
    found = {text: rules.of(name(text)) for text in ("Qwen3:8b", "qwen2", "smol")}
    assert {text: (each.engine, each.slots) for text, each in found.items()} == {
        "Qwen3:8b": ("sglang", 3),
        "qwen2": ("simulator", 4),
        "smol": ("simulator", None),
    }


@pytest.mark.parametrize("adapters", [True, False])
def test_sglang_takes_adapters_where_its_settings_say_so(
    store: Store, creation: Creation, adapters: bool
) -> None:
    """Its memory for them is taken at the start, so not without being asked."""
    create(store, creation, {"model.safetensors": safetensors(), "config.json": json.dumps(CONFIG).encode()})
    read = SafetensorsReader(store, python="python3")
    model = read(name("made"), store.find(name("made")), ModelSettings(adapters=adapters or None))
    assert model is not None
    assert (model.takes_adapters, model.card.capabilities.safetensors_adapters) == (adapters, adapters)


def test_what_was_learnt_with_other_settings_does_not_count(
    store: Store, creation: Creation, gguf: bytes, tmp_path: Path
) -> None:
    create(store, creation, {"a": gguf})

    def read(text: str) -> Catalog:
        rules = ModelRules(read_model_settings(text))
        catalog = Catalog(store, creation.readers, LoadRecords(tmp_path / "loads"), rules)
        catalog.refresh()
        return catalog

    first = read('{"*": {"slots": 2}}')
    model = first.find(name("made"))
    first.learn(model, LoadRecord(123, 4, model.card))
    first.keep(model)
    assert read('{"*": {"slots": 2}}').needs(model).memory_bytes == 123
    other = read('{"*": {"slots": 4}}')
    assert other.needs(other.find(name("made"))).memory_bytes > 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("/nowhere.json", "No such file"),
        ("{", "JSON"),
        ('{"a": {"slot": 1}}', r"a\.slot"),
        ('{"a": {"slots": 0}}', r"a\.slots"),
    ],
)
def test_settings_of_models_that_are_wrong(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_model_settings(text)


@pytest.mark.parametrize("text", ["sglang", "=sglang", "qwen3*=vllm", "qwen3*="])
def test_an_engine_that_there_is_not(text: str) -> None:
    with pytest.raises(ValueError, match="write PATTERN=ENGINE"):
        read_engines([text])


def test_a_model_whose_pooling_ranks_is_a_reranker(
    store: Store, creation: Creation, catalog: Catalog, tmp_path: Path
) -> None:
    write_tiny_bert_gguf(tmp_path / "bert.gguf")
    create(store, creation, {"a": (tmp_path / "bert.gguf").read_bytes()})
    catalog.refresh()
    model = catalog.find(name("made"))
    assert model.card.capabilities.rerank
    assert "rerank" in model.flags


@pytest.mark.parametrize(
    ("config", "files", "flags", "task"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, {}, [], "generate"),
        ({"architectures": ["XLMRobertaModel"]}, {}, [], "embed"),
        ({"architectures": ["Qwen3ForCausalLM"]}, {"modules.json": b"[]"}, [], "embed"),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "yes"}}, {}, [], "rerank"),
        ({"architectures": ["BertForSequenceClassification"]}, {}, [], "classify"),
        ({"architectures": ["BertForSequenceClassification"]}, {}, ["--task=embed"], "embed"),
    ],
)
def test_what_safetensors_are_for(
    store: Store,
    creation: Creation,
    config: dict[str, object],
    files: dict[str, bytes],
    flags: list[str],
    task: str,
) -> None:
    """Known before the first load, so that the first request is not refused."""
    files = {"model.safetensors": safetensors(), "config.json": json.dumps(CONFIG | config).encode(), **files}
    create(store, creation, files)
    settings = ModelSettings(flags=flags, context_length=99, adapters=True)
    model = SafetensorsReader(store, python="python3")(name("made"), store.find(name("made")), settings)
    assert model is not None
    can = model.card.capabilities
    found = {
        "generate": can.completion,
        "embed": can.embedding,
        "rerank": can.rerank,
        "classify": can.classify,
    }
    assert [each for each, able in found.items() if able] == [task]
    assert value_of(model.flags, "--task") == task
    assert model.takes_adapters is (task == "generate")
    assert model.card.context_length == 99


def test_a_simulated_model_is_for_what_its_flags_say(store: Store) -> None:
    data = json.dumps({"memory_bytes": 1, "flags": ["--task", "embed"]}).encode()
    manifest = Manifest([Layer(SIMULATED, put_blob(store, data), len(data))])
    model = SimulatedReader(store)(name("made"), manifest, ModelSettings())
    assert model is not None
    assert (model.card.capabilities.embedding, model.card.capabilities.completion) == (True, False)
    assert not model.takes_adapters


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
