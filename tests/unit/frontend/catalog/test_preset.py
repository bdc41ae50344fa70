"""What a preset is made of."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from frontend.catalog.preset import Preset
from tests.fakes import transcripts
from tests.unit.frontend.catalog.making import full_preset, preset


def test_a_preset_is_the_same_when_it_was_stored() -> None:
    made = full_preset()

    assert Preset.from_document(made.name.full, made.to_document()) == made


def test_layers_have_the_digests_that_ollama_gives_them() -> None:
    recorded = transcripts.case("create from").answer.splitlines()
    created = [
        json.loads(line)["status"].removeprefix("creating new layer ")
        for line in recorded
        if "creating" in line
    ]

    assert [layer.digest for layer in full_preset().layers[1:]] == created


def test_the_first_layer_is_the_weights() -> None:
    weights = preset().layers[0]

    assert (weights.digest, weights.size_bytes) == (f"sha256:{preset().base_digest}", 1000)
    assert preset().size_bytes == 1000 + len("Be a pirate.")


def test_the_digest_is_of_the_content_and_not_of_name_or_age() -> None:
    made = full_preset()

    assert re.fullmatch(r"[0-9a-f]{64}", made.digest)
    assert replace(made, name=preset("other").name, modified_unix_ns=8).digest == made.digest
    assert replace(made, system="Be a parrot.").digest != made.digest
    assert replace(made, base_digest="cd" * 32).digest != made.digest


@pytest.mark.parametrize("document", ["", "{}", "[]", '{"base": 1}'])
def test_what_is_no_document_is_refused(document: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Preset.from_document("a:b", document)
