"""Adapters in PEFT's files: what is read of them, and what is refused without reading much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from drover.errors import InvalidRequest
from engine_worker.adapters.matrices import Pair
from engine_worker.adapters.safetensors_header import read_config, read_pairs

_NAME = "base_model.model.model.layers.0.self_attn.o_proj"
_CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["o_proj"], "bias": "none"}


def _tensor(begin: int, *shape: int, kind: str = "F32") -> dict[str, object]:
    length = 4
    for size in shape:
        length *= size
    return {"dtype": kind, "shape": list(shape), "data_offsets": [begin, begin + length]}


_PAIR = {f"{_NAME}.lora_A.weight": _tensor(0, 2, 8), f"{_NAME}.lora_B.weight": _tensor(64, 4, 2)}


def _weights(path: Path, header: object, data_bytes: int = 96) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(data_bytes))
    return path


def _config(path: Path, **changes: object) -> Path:
    path.write_text(json.dumps({**_CONFIG, **changes}))
    return path


def test_the_matrices_are_read_without_their_values(tmp_path: Path) -> None:
    rank = read_config(_config(tmp_path / "adapter_config.json"))
    pairs = read_pairs(_weights(tmp_path / "a", {"__metadata__": {"format": "pt"}, **_PAIR}), rank)

    assert pairs == [Pair("model.layers.0.self_attn.o_proj.weight", rank=2, inputs=8, outputs=4)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "peft_type is 'PREFIX_TUNING'"),
        ({"use_dora": True}, "sets use_dora"),
        ({"use_rslora": True}, "sets use_rslora"),
        ({"rank_pattern": {"q_proj": 4}}, "sets rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, "sets modules_to_save"),
        ({"bias": "all"}, "sets bias"),
        ({"r": 0}, "r in adapter_config.json must be a whole number"),
        ({"r": True}, "r in adapter_config.json must be a whole number"),
        ({"lora_alpha": "4"}, "lora_alpha in adapter_config.json must be a number"),
        ({"target_modules": None}, "target_modules in adapter_config.json must be a list"),
    ],
)
def test_a_configuration_that_engines_ignore_is_refused(
    tmp_path: Path, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_config(_config(tmp_path / "adapter_config.json", **changes))


@pytest.mark.parametrize("text", ["{", "[]", '"r"', "\udcff"])
def test_a_configuration_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "adapter_config.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidRequest, match="is not"):
        read_config(path)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ([], "is not a JSON object"),
        ({"x.weight": _tensor(0, 3, 8)}, "'x.weight' is no matrix of a LoRA"),
        ({f"{_NAME}.lora_magnitude_vector": _tensor(0, 24)}, "is no matrix of a LoRA"),
        ({f"{_NAME}.lora_A.weight": _tensor(0, 3, 8)}, "only one is there"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": _tensor(64, 8, 1)}, "cannot be multiplied"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": _tensor(68, 4, 2)}, "not where the header says"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": _tensor(64, 2**40, 2)}, "not where the header says"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": _tensor(64, -4, -2)}, "no valid shape"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": _tensor(64, 4, 2, kind="I64")}, "is of type 'I64'"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": {"shape": [1]}}, "has no dtype, shape and data_offsets"),
        ({**_PAIR, f"{_NAME}.lora_B.weight": _tensor(60, 4, 2)}, "overlap, or leave bytes of it out"),
        ({f"{_NAME}.lora_A.weight": _tensor(32, 2, 8)}, "overlap, or leave bytes of it out"),
    ],
)
def test_a_header_that_is_no_loras_is_refused(tmp_path: Path, header: object, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        read_pairs(_weights(tmp_path / "a", header), rank=2)


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="has no matrices"):
        read_pairs(_weights(tmp_path / "a", {}, data_bytes=0), rank=2)


def test_another_rank_than_the_configurations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="have rank 2, the configuration says 3"):
        read_pairs(_weights(tmp_path / "a", _PAIR), rank=3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a whole safetensors file"),
        (b"\x02", "not a whole safetensors file"),
        ((2**63).to_bytes(8, "little") + b"{}", "not a whole safetensors file"),
        ((2).to_bytes(8, "little") + b"x", "not a whole safetensors file"),
        ((2).to_bytes(8, "little") + b"{]", "is not a JSON object"),
    ],
)
def test_what_is_no_whole_file_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    with pytest.raises(InvalidRequest, match=reason):
        read_pairs(path, rank=1)


def test_a_header_of_absurd_length_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write((1 << 30).to_bytes(8, "little"))
        # A file with a hole: as long as it claims, and without a block on disk.
        file.truncate(2 << 30)
    with pytest.raises(InvalidRequest, match="claims 1073741824 bytes; at most 8388608 are read"):
        read_pairs(path, rank=1)
