"""Adapters as SGLang reads them: whole stacks of matrices."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest

from drover.adapters import CONFIG_FILE, WEIGHTS_FILE
from drover.errors import InvalidRequest
from engine_worker.adapters.contents import Adapter, read_adapter
from engine_worker.engines.sglang.adapter_files import check_adapted, write_completed
from tests.support.adapters import Matrix, write_safetensors

_ATTENTION, _MLP = "model.layers.0.self_attn", "model.layers.0.mlp"
_WEIGHTS = {
    f"{_ATTENTION}.q_proj.weight": [8, 8],
    f"{_ATTENTION}.k_proj.weight": [4, 8],
    f"{_ATTENTION}.v_proj.weight": [4, 8],
    f"{_ATTENTION}.o_proj.weight": [8, 8],
    f"{_MLP}.gate_proj.weight": [16, 8],
    f"{_MLP}.up_proj.weight": [16, 8],
}


def _adapter(folder: Path, *modules: str) -> Adapter:
    """An adapter of rank 2, all of whose values are 1."""
    tensors: dict[str, Matrix] = {}
    for module in modules:
        outputs, inputs = _WEIGHTS.get(f"{module}.weight", [8, 8])
        tensors[f"base_model.model.{module}.lora_A.weight"] = numpy.ones((2, inputs), numpy.float32)
        tensors[f"base_model.model.{module}.lora_B.weight"] = numpy.ones((outputs, 2), numpy.float32)
    folder.mkdir()
    write_safetensors(folder / WEIGHTS_FILE, tensors)
    config = {"r": 2, "lora_alpha": 2, "target_modules": "all-linear"}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    return read_adapter("d", folder)


def _sums(path: Path) -> dict[str, float]:
    """Each matrix of the file with the sum of its values."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header, values = json.loads(data[8 : 8 + length]), data[8 + length :]
    return {
        name: float(numpy.frombuffer(values[slice(*tensor["data_offsets"])], numpy.float32).sum())
        for name, tensor in header.items()
    }


@pytest.mark.parametrize(
    ("trained", "added"),
    [
        (["self_attn.v_proj", "self_attn.o_proj"], ["self_attn.k_proj", "self_attn.q_proj"]),
        (["self_attn.k_proj"], ["self_attn.q_proj", "self_attn.v_proj"]),
        (["mlp.up_proj"], ["mlp.gate_proj"]),
        (["self_attn.o_proj"], []),
        (["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], []),
    ],
)
def test_what_is_missing_of_a_stack_is_zeros(tmp_path: Path, trained: list[str], added: list[str]) -> None:
    adapter = _adapter(tmp_path / "a", *(f"model.layers.0.{module}" for module in trained))
    (tmp_path / "b").mkdir()

    write_completed(adapter, _WEIGHTS, tmp_path / "b")

    before, after = _sums(tmp_path / "a" / WEIGHTS_FILE), _sums(tmp_path / "b" / WEIGHTS_FILE)
    assert {name: after[name] for name in before} == before
    assert all(value == 0 for name, value in after.items() if name not in before)
    completed = read_adapter("d", tmp_path / "b")
    assert sorted(pair.weight for pair in completed.pairs) == sorted(
        f"model.layers.0.{module}.weight" for module in [*trained, *added]
    )
    assert all([pair.outputs, pair.inputs] == _WEIGHTS[pair.weight] for pair in completed.pairs)
    config = json.loads((tmp_path / "b" / CONFIG_FILE).read_text())
    assert config["target_modules"] == sorted(module.rpartition(".")[2] for module in [*trained, *added])


@pytest.mark.parametrize("module", ["lm_head", "model.embed_tokens", "model.layers.0.mlp.experts.3.up_proj"])
def test_other_weights_are_refused(tmp_path: Path, module: str) -> None:
    with pytest.raises(InvalidRequest, match="workers with SGLang take changes of"):
        check_adapted(_adapter(tmp_path / "a", module))
