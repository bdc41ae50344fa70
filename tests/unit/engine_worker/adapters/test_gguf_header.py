"""Adapters in GGUF: what is read of them, and what is refused without reading much."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy
import pytest
from gguf import GGUFWriter

from drover.errors import InvalidRequest
from engine_worker.adapters.gguf_header import read_gguf
from engine_worker.adapters.matrices import Pair

Change = Callable[[GGUFWriter], None]
_A, _B = numpy.ones((2, 8), numpy.float32), numpy.ones((4, 2), numpy.float32)


def _nothing(writer: GGUFWriter) -> None:
    """Metadata as it should be."""


def _write(path: Path, change: Change = _nothing, tensors: Mapping[str, object] | None = None) -> Path:
    """An adapter of rank 2 for one weight. `change`: adds metadata, or replaces it."""
    writer = GGUFWriter(path, "llama")
    change(writer)
    if "general.type" not in writer.kv_data[0]:
        writer.add_type("adapter")
    if "adapter.type" not in writer.kv_data[0]:
        writer.add_string("adapter.type", "lora")
    if "adapter.lora.alpha" not in writer.kv_data[0]:
        writer.add_float32("adapter.lora.alpha", 2.0)
    for name, tensor in (tensors or {"x.weight.lora_a": _A, "x.weight.lora_b": _B}).items():
        assert isinstance(tensor, numpy.ndarray)
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_matrices_are_read_without_their_values(tmp_path: Path) -> None:
    found = read_gguf(_write(tmp_path / "a.gguf", lambda writer: writer.add_array("some.list", ["a", "b"])))

    assert found.architecture == "llama"
    assert found.pairs == [Pair("x.weight", rank=2, inputs=8, outputs=4)]


def test_half_precision_and_whole_blocks_are_read(tmp_path: Path) -> None:
    halves = {"x.weight.lora_a": _A.astype(numpy.float16), "x.weight.lora_b": _B.astype(numpy.float16)}

    assert read_gguf(_write(tmp_path / "a.gguf", tensors=halves)).pairs[0].rank == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda writer: writer.add_type("model"), "of kind 'model', not an adapter"),
        (lambda writer: writer.add_string("adapter.type", "other"), "adapter.type is 'other'"),
        (
            lambda writer: writer.add_array("adapter.alora.invocation_tokens", [1, 2]),
            "activated LoRA",
        ),
        (lambda writer: writer.add_string("adapter.lora.alpha", "2"), "no adapter.lora.alpha"),
    ],
)
def test_another_kind_of_file_is_refused(tmp_path: Path, change: Change, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_gguf(_write(tmp_path / "a.gguf", change))


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"x.weight.lora_a": _A}, "of the two matrices for 'x.weight' only one"),
        ({"x.weight.lora_a": _A, "x.weight.lora_b": _A}, "cannot be multiplied"),
        ({"x.weight": _A}, "'x.weight' is no matrix of a LoRA"),
        ({"token_embd.weight.lora_a": _A, "token_embd.weight.lora_b": _B}, "is no matrix of a LoRA"),
    ],
)
def test_tensors_that_are_no_pairs_are_refused(
    tmp_path: Path, tensors: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_gguf(_write(tmp_path / "a.gguf", tensors=tensors))


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    whole = _write(tmp_path / "a.gguf").read_bytes()
    path = tmp_path / "b.gguf"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidRequest):
            read_gguf(path)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        (struct.pack("<IQQ", 3, 2**60, 1), "claims 1 metadata keys and 1152921504606846976 tensors"),
        (struct.pack("<IQQ", 3, 1, 2**60), "claims 1152921504606846976 metadata keys"),
        (struct.pack("<IQQQ", 3, 0, 1, 2**60), "cut off, or longer than"),
        (
            struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 2**60),
            "claims lists of 1152921504606846976 texts",
        ),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 8, 2**20), "cut off, or longer than"),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 4, 2**60), "cut off, or longer than"),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", 9, 9, 2), "an array of arrays"),
        (struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "unknown type 99"),
        (struct.pack("<IQQ", 1, 0, 0), "version 1 of GGUF"),
    ],
)
def test_absurd_lengths_are_refused_without_reading_so_much(
    tmp_path: Path, claims: bytes, reason: str
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + claims)
    with pytest.raises(InvalidRequest, match=reason):
        read_gguf(path)


def test_what_is_no_gguf_is_refused_in_ollamas_words(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"PK\x03\x04 a pickle in a zip archive")
    with pytest.raises(InvalidRequest, match="supplied file was not in GGUF format"):
        read_gguf(path)
