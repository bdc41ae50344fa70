"""PEFT's files as GGUF: the same change of the same weights, by the model's own weights in both forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
from gguf import GGUFReader

from drover.adapters import CONFIG_FILE, GGUF_FILE, WEIGHTS_FILE
from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter, read_adapter
from engine_worker.adapters.gguf_conversion import with_gguf
from tests.support.adapters import Matrix, write_safetensors

_RANK = 2
_MODEL = pb.Model(
    format="gguf",
    family="llama",
    model_info_json=json.dumps(
        {"llama.block_count": 2, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2}
    ),
)


def _adapter(folder: Path, **outputs: int) -> Adapter:
    """For weights of the second layer's attention, by their numbers of rows. All values are different."""
    tensors: dict[str, Matrix] = {}
    for module, rows in outputs.items():
        name = f"base_model.model.model.layers.1.self_attn.{module}"
        tensors[f"{name}.lora_A.weight"] = numpy.arange(_RANK * 8, dtype=numpy.float32).reshape(_RANK, 8)
        tensors[f"{name}.lora_B.weight"] = numpy.arange(rows * _RANK, dtype=numpy.float32).reshape(
            rows, _RANK
        )
    folder.mkdir()
    write_safetensors(folder / WEIGHTS_FILE, tensors)
    config = {"r": _RANK, "lora_alpha": 3, "target_modules": list(outputs)}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return read_adapter("d", folder)


def test_the_matrices_have_the_names_and_the_order_of_gguf(tmp_path: Path) -> None:
    adapter = with_gguf(_adapter(tmp_path / "a", q_proj=16, k_proj=8, o_proj=16), _MODEL)

    assert (adapter.format, adapter.architecture, adapter.rank) == ("gguf", "llama", _RANK)
    assert {pair.weight: (pair.inputs, pair.outputs) for pair in adapter.pairs} == {
        "blk.1.attn_q.weight": (8, 16),
        "blk.1.attn_k.weight": (8, 8),
        "blk.1.attn_output.weight": (8, 16),
    }
    reader = GGUFReader(tmp_path / "a" / GGUF_FILE)
    assert reader.fields["adapter.lora.alpha"].contents() == 3.0
    rows = {
        tensor.name: numpy.array(tensor.data)[:, 0].astype(int).tolist()
        for tensor in reader.tensors
        if tensor.name.endswith("lora_b")
    }
    plain = [number * _RANK for number in range(16)]
    assert rows["blk.1.attn_output.weight.lora_b"] == plain
    # Heads of four rows: 0 2 1 3.
    order = [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15]
    assert rows["blk.1.attn_q.weight.lora_b"] == [plain[number] for number in order]
    assert rows["blk.1.attn_k.weight.lora_b"] == [plain[number] for number in order[:8]]


def test_other_architectures_keep_the_order(tmp_path: Path) -> None:
    info = json.dumps({"qwen2.block_count": 2})
    model = pb.Model(format="gguf", family="qwen2", model_info_json=info)
    with_gguf(_adapter(tmp_path / "a", q_proj=16), model)

    (second,) = [
        numpy.array(tensor.data)
        for tensor in GGUFReader(tmp_path / "a" / GGUF_FILE).tensors
        if tensor.name == "blk.1.attn_q.weight.lora_b"
    ]
    assert second[:, 0].astype(int).tolist() == [number * _RANK for number in range(16)]


@pytest.mark.parametrize("model", [pb.Model(format="gguf", family="gemma3"), pb.Model(format="safetensors")])
def test_unknown_architectures_are_left_alone(tmp_path: Path, model: pb.Model) -> None:
    assert with_gguf(_adapter(tmp_path / "a", q_proj=16), model).format == "safetensors"
    assert not (tmp_path / "a" / GGUF_FILE).exists()


def test_a_weight_that_the_architecture_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"changes 'model\.layers\.1\.self_attn\.x_proj\.weight'"):
        with_gguf(_adapter(tmp_path / "a", x_proj=16), _MODEL)


def test_rows_of_other_heads_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="12 rows do not belong to 4 heads"):
        with_gguf(_adapter(tmp_path / "a", q_proj=12), _MODEL)
