"""The quick reader of GGUF metadata reads what gguf's own reader does."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import pytest

from engine_worker.engines.llamacpp.gguf_reader import QuickGgufReader


def written(path: Path, endianess: gguf.GGUFEndian = gguf.GGUFEndian.LITTLE) -> Path:
    writer = gguf.GGUFWriter(path, "llama", endianess=endianess)
    writer.add_context_length(2048)
    writer.add_token_list(["a", "", "drei", "é" * 100])
    writer.add_array("numbers", [1, -2, 3])
    writer.add_array("fractions", [0.5, 0.25])
    writer.add_array("flags", [True, False])
    writer.add_array("one", ["x"])
    writer.add_chat_template("{{ messages }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("endianess", gguf.GGUFEndian)
def test_it_reads_what_the_slow_one_reads(tmp_path: Path, endianess: gguf.GGUFEndian) -> None:
    path = written(tmp_path / "m.gguf", endianess)
    quick, slow = QuickGgufReader(path), gguf.GGUFReader(path)

    assert list(quick.fields) == list(slow.fields)
    for name, field in slow.fields.items():
        assert quick.fields[name].contents() == field.contents(), name
        assert quick.fields[name].types == field.types, name
    assert quick.data_offset == slow.data_offset
    assert len(quick.fields["tokenizer.ggml.tokens"].data) == 4


def test_a_file_that_is_cut_off_anywhere_raises(tmp_path: Path) -> None:
    whole = written(tmp_path / "m.gguf").read_bytes()
    cut = tmp_path / "cut.gguf"
    for length in range(len(whole) - 64):
        cut.write_bytes(whole[:length])
        with pytest.raises((IndexError, KeyError, OverflowError, ValueError)):
            QuickGgufReader(cut)


@pytest.mark.parametrize("kind", [gguf.GGUFValueType.STRING, gguf.GGUFValueType.FLOAT64])
def test_an_array_that_claims_more_than_the_file_has_raises(tmp_path: Path, kind: gguf.GGUFValueType) -> None:
    path = tmp_path / "m.gguf"
    name = b"claims"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(name)) + name
    path.write_bytes(head + struct.pack("<IIQ", gguf.GGUFValueType.ARRAY, kind, 1 << 60) + bytes(64))
    with pytest.raises(ValueError, match="longer than the file"):
        QuickGgufReader(path)
