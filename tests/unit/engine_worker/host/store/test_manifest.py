"""Manifests from outside: what is read, and what is refused."""

from __future__ import annotations

import json

import pytest

from drover.errors import InvalidRequest
from engine_worker.host.store.manifest import FILE, MAX_BYTES, MODEL, Layer, Manifest, is_file_name

DIGEST = f"sha256:{'a' * 64}"


def text(**layer: object) -> bytes:
    fields = {"mediaType": MODEL, "digest": DIGEST, "size": 7} | layer
    return json.dumps({"layers": [fields]}).encode()


def titled(title: object) -> bytes:
    return text(annotations={"org.opencontainers.image.title": title})


def test_a_manifest_is_what_was_encoded() -> None:
    manifest = Manifest([Layer(FILE, DIGEST, 7, "config.json")], Layer("config", DIGEST, 7))
    assert Manifest.parse(manifest.encode()) == manifest


def test_a_file_counts_once() -> None:
    manifest = Manifest([Layer(MODEL, DIGEST, 7), Layer("other", DIGEST, 7)])
    assert manifest.size_bytes == 7


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"layers": {}}',
        b'{"layers": [1]}',
        json.dumps({"layers": [{}] * 5000}).encode(),
        text(digest="sha256:abc"),
        text(digest="sha256:" + "/" * 64),
        text(digest=f"md5:{'a' * 64}"),
        text(size=-1),
        text(size=1 << 60),
        text(size=True),
        text(size="7"),
        b" " * (MAX_BYTES + 1),
    ],
)
def test_a_manifest_that_is_none_is_refused(document: bytes) -> None:
    with pytest.raises(InvalidRequest):
        Manifest.parse(document)


@pytest.mark.parametrize("title", ["../config.json", "a/b", "a\\b", ".hidden", "..", "a\0b", "a" * 300, 7])
def test_a_file_name_with_a_path_is_refused(title: object) -> None:
    with pytest.raises(InvalidRequest, match="no plain file name"):
        Manifest.parse(titled(title))


@pytest.mark.parametrize("title", ["model-00001-of-00002.safetensors", "config.json", "tokenizer.model"])
def test_names_of_model_files_are_plain(title: str) -> None:
    assert is_file_name(title)
    assert Manifest.parse(titled(title)).layers[0].title == title
