"""What counts for a stored model: its files, the operator's settings, the environment, its loads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
from engine_worker.host.store.manifest import Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.tiny_bert_gguf import write_tiny_bert_gguf
from tests.unit.engine_worker.host.conftest import name, put_blob
from tests.unit.engine_worker.host.models.conftest import CONFIG, create, safetensors


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
