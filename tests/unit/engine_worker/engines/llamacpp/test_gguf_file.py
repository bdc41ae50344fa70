"""Metadata of GGUF files that the tests write."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy
import pytest

from engine_worker.engines.llamacpp.gguf import GgufFile
from engine_worker.engines.numbers import human_count

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(
        name: str = "m.gguf", weight: float = 0.0, context_length: int = 2048, file_type: int = 3
    ) -> Path:
        path = tmp_path / name
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_name("hidden")
        writer.add_chat_template("{{ messages }}")
        writer.add_context_length(context_length)
        writer.add_embedding_length(64)
        writer.add_block_count(2)
        writer.add_head_count(4)
        writer.add_head_count_kv(2)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(100_000.0)
        writer.add_file_type(file_type)
        writer.add_token_list(["a", "b"])
        writer.add_tensor("w", numpy.full((10, 150), weight, dtype=numpy.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write_file


def test_the_description_of_the_model(write: Write) -> None:
    path = write()
    model = GgufFile(path).describe()

    assert (model.format, model.family, list(model.families)) == ("gguf", "llama", ["llama"])
    assert (model.trained_context_length, model.embedding_length) == (2048, 64)
    assert (model.parameter_count, model.parameter_size) == (1500, "2K")
    assert model.quantization == "Q4_1"
    assert model.template == "{{ messages }}"
    assert model.size_bytes == path.stat().st_size
    assert model.modified_unix_ns == path.stat().st_mtime_ns


def test_model_info_is_as_ollama_shows_it(write: Write) -> None:
    info = json.loads(GgufFile(write()).describe().model_info_json)

    assert info["general.architecture"] == "llama"
    assert info["general.parameter_count"] == 1500
    assert info["llama.attention.layer_norm_rms_epsilon"] == 1e-5
    assert info["llama.rope.freq_base"] == 100_000
    assert isinstance(info["llama.rope.freq_base"], int)
    assert info["tokenizer.ggml.tokens"] is None
    assert "general.name" not in info
    assert "tokenizer.chat_template" not in info
    assert not any(key.startswith("GGUF.") for key in info)


def test_arrays_are_read_with_with_lists(write: Write) -> None:
    info = json.loads(GgufFile(write(), with_lists=True).model_info_json())

    assert info["tokenizer.ggml.tokens"] == ["a", "b"]


def test_the_digest_does_not_depend_on_the_folder(write: Write) -> None:
    one, renamed = write("one.gguf"), write("other.gguf")
    copy = one.parent / "folder" / "one.gguf"
    copy.parent.mkdir()
    shutil.copy(one, copy)
    os.utime(copy, ns=(1, 1))
    digest = GgufFile(one).digest()

    assert GgufFile(copy).digest() == digest
    others = {GgufFile(renamed).digest(), GgufFile(one).digest("{{ another }}")}
    assert len({digest, *others, GgufFile(write("one.gguf", context_length=4096)).digest()}) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in (digest, *others))


def test_tensors_are_listed_block_by_block(write: Write) -> None:
    tensors = GgufFile(write()).describe().tensors

    assert all(tensor.name and tensor.type and tensor.shape for tensor in tensors)
    assert sum(math.prod(tensor.shape) for tensor in tensors) == 1500


def test_kv_cache_size(write: Write) -> None:
    # 2 blocks, 2 heads for keys and values of 64 / 4 numbers, both keys and values, 2 bytes each.
    assert GgufFile(write()).kv_bytes(100) == 100 * 2 * 2 * 16 * 2 * 2


def test_defaults_for_missing_metadata(write: Write) -> None:
    file = GgufFile(write(file_type=9999))

    assert file.quantization == "unknown"
    assert file.integer("no_such_key", 7) == 7
    assert not file.pooling_known


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_none_counts_as_missing(write: Write, value: float) -> None:
    file = GgufFile(write())
    file.values["llama.context_length"] = value
    assert file.integer("context_length", 7) == 7


def test_a_file_that_is_not_gguf(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"not a model" * 100)

    with pytest.raises(ValueError):
        GgufFile(path)
    with pytest.raises(OSError):
        GgufFile(tmp_path / "missing.gguf")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 100], ids=repr)
def test_a_file_that_is_cut_off(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)

    with pytest.raises((ValueError, OSError)):
        GgufFile(path)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1K"),
        (1_500_000, "1.50M"),
        (134_515_008, "134.52M"),
        (8_000_000_000, "8B"),
        (3_212_749_888, "3.2B"),
    ],
)
def test_counts_as_ollama_writes_them(count: int, text: str) -> None:
    assert human_count(count) == text
