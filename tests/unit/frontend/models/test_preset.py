"""What a preset is made of."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.models.adapter import Adapter, AdapterFile
from frontend.models.model import CatalogModel
from frontend.models.preset import Layer, Preset
from frontend.routing.served_model import ServedModel
from tests.fakes import transcripts
from tests.unit.frontend.models.preset_factory import full_preset, preset


def test_a_preset_is_the_same_when_it_was_stored() -> None:
    made = full_preset()

    assert Preset.from_document(made.name.full, made.to_document()) == made


def test_an_adapter_is_stored_and_is_layers_of_the_preset() -> None:
    files = (AdapterFile("a", f"sha256:{'1' * 64}", 5), AdapterFile("b", f"sha256:{'2' * 64}", 6))
    made = replace(preset(), adapter=Adapter(files))

    stored = Preset.from_document(made.name.full, made.to_document())
    assert stored == made
    assert stored.adapter is not None
    assert stored.adapter.digest == Adapter(files).digest
    assert [layer.size_bytes for layer in _over(made).layers] == [1000, 5, 6, len("Be a pirate.")]
    assert _over(made).digest != _over(preset()).digest
    assert _over(made).size_bytes == _over(preset()).size_bytes + 11


def test_layers_have_the_digests_that_ollama_gives_them() -> None:
    recorded = transcripts.case("create from").answer.splitlines()
    created = [
        json.loads(line)["status"].removeprefix("creating new layer ")
        for line in recorded
        if "creating" in line
    ]

    assert [layer.digest for layer in full_preset().written_layers] == created


def _over(made: Preset, served: pb.Model | None = None) -> CatalogModel:
    return CatalogModel(made.name, ServedModel(made.base, served) if served else None, made)


def test_the_first_layer_is_the_weights() -> None:
    model = _over(preset())
    weights = model.layers[0]

    assert (weights.digest, weights.size_bytes) == (f"sha256:{preset().base_digest}", 1000)
    assert model.size_bytes == 1000 + len("Be a pirate.")


def test_the_weights_are_those_that_workers_serve_now() -> None:
    newer = _over(preset(), pb.Model(digest="cd" * 32, size_bytes=2000))

    assert newer.layers[0] == Layer(f"sha256:{'cd' * 32}", 2000)
    assert newer.size_bytes == 2000 + len("Be a pirate.")
    assert newer.digest != _over(preset()).digest


def test_the_digest_is_of_the_content_and_not_of_name_or_age() -> None:
    made = full_preset()
    digest = _over(made).digest

    assert re.fullmatch(r"[0-9a-f]{64}", digest)
    assert _over(replace(made, name=preset("other").name, modified_unix_ns=8)).digest == digest
    assert _over(replace(made, system="Be a parrot.")).digest != digest
    assert _over(replace(made, base_digest="cd" * 32)).digest != digest


def test_a_copy_has_the_digest_of_what_it_is_a_copy_of() -> None:
    copy = replace(preset(), system="")

    assert _over(copy).digest == copy.base_digest


def test_a_template_that_the_worker_cannot_use_makes_no_model_that_inserts() -> None:
    made = replace(preset(), template="{{ .Suffix }}", template_uses=frozenset({"suffix"}))
    able, other = (
        pb.Model(capabilities=pb.Capabilities(completion=True, insert=True, go_template=can))
        for can in (True, False)
    )

    assert _over(made, able).capabilities.insert
    assert not _over(made, other).capabilities.insert


def _with_template(uses: set[str], *can: str, model_format: str = "gguf", adds: bool = False) -> CatalogModel:
    made = replace(preset(), template="{{ .Prompt }}", template_uses=frozenset(uses))
    capabilities = pb.Capabilities(
        completion=True,
        go_template=True,
        go_template_parsed=True,
        go_template_adds=adds,
        tools="tools" in can,
        thinking="thinking" in can,
    )
    return _over(made, pb.Model(format=model_format, capabilities=capabilities))


@pytest.mark.parametrize(
    ("uses", "can", "is_own"),
    [
        ({"prompt"}, ("tools", "thinking"), False),
        ({"prompt", "suffix"}, ("tools",), False),
        ({"tools", "messages"}, ("tools", "thinking"), False),
        ({"thinking", "messages"}, ("tools", "thinking"), False),
        ({"tools", "thinking"}, ("tools", "thinking"), True),
        ({"tools", "prompt"}, ("tools",), True),
        ({"prompt"}, (), True),
    ],
)
def test_a_gguf_template_that_does_more_comes_first(
    uses: set[str], can: tuple[str, ...], is_own: bool
) -> None:
    """Tools and thinking stay, as in Ollama."""
    model = _with_template(uses, *can)

    assert bool(model.own_template) is is_own
    assert (model.capabilities.tools, model.capabilities.thinking) == ("tools" in can, "thinking" in can)
    assert _with_template(uses, *can, model_format="safetensors").own_template


@pytest.mark.parametrize("adds", [True, False])
def test_a_template_brings_tools_and_thinking_where_the_engine_finds_them(adds: bool) -> None:
    capabilities = _with_template({"tools", "thinking", "messages"}, adds=adds).capabilities

    assert (capabilities.tools, capabilities.thinking) == (adds, adds)


@pytest.mark.parametrize("document", ["", "{}", "[]", '{"base": 1}'])
def test_an_invalid_document_is_refused(document: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Preset.from_document("a:b", document)
