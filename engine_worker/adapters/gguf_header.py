"""An adapter in a GGUF file: its metadata and its list of tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drover.errors import InvalidRequest
from engine_worker.adapters.matrices import Pair, pairs_of, shown
from engine_worker.gguf_header import Tensor, Value, open_gguf

_MAX_HEADER_BYTES = 8 * 1024 * 1024
# ggml's numbers for types of tensors that adapters have: values in a block, and bytes of one.
_BLOCKS = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}
_SUFFIXES = (".lora_a", ".lora_b")


@dataclass(frozen=True, slots=True)
class GgufAdapter:
    """`architecture`: of the model that it was made for."""

    architecture: str
    pairs: list[Pair]


def read_gguf(path: Path) -> GgufAdapter:
    """Raises InvalidRequest for a file that is no LoRA in GGUF."""
    matrices = _Matrices()
    with open_gguf(path, _MAX_HEADER_BYTES, "adapters") as header:
        _check_kind(header.values)
        end = max((_add(tensor, matrices) for tensor in header.tensors()), default=0)
        if header.data_offset() + end > path.stat().st_size:
            raise InvalidRequest("adapters: the GGUF file is cut off: its tensors end after its last byte")
        architecture = str(header.values.get("general.architecture", ""))
    return GgufAdapter(architecture, list(pairs_of(matrices.first, matrices.second, matrices.foreign)))


def _check_kind(values: Mapping[str, Value]) -> None:
    kind, method = values.get("general.type"), values.get("adapter.type")
    if kind != "adapter":
        raise InvalidRequest(
            f"adapters: the GGUF file is of kind {shown(str(kind or 'model'))}, not an adapter; a model is "
            "served by a worker of its own"
        )
    if method != "lora":
        raise InvalidRequest(f"adapters: adapter.type is {shown(str(method))}, and only lora can be used")
    if "adapter.alora.invocation_tokens" in values:
        raise InvalidRequest("adapters: an activated LoRA (aLoRA) cannot be used")
    if not isinstance(values.get("adapter.lora.alpha"), float):
        raise InvalidRequest("adapters: the GGUF file has no adapter.lora.alpha")


@dataclass(slots=True)
class _Matrices:
    """Shapes as rows and columns, by the names of their weights."""

    first: dict[str, list[int]] = field(default_factory=dict)
    second: dict[str, list[int]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def add(self, name: str, shape: list[int]) -> None:
        weight, suffix = name[: -len(_SUFFIXES[0])], name[-len(_SUFFIXES[0]) :]
        if suffix not in _SUFFIXES or weight.startswith("token_embd"):
            self.foreign.append(name)
            return
        (self.first if suffix == _SUFFIXES[0] else self.second)[weight] = shape


def _add(tensor: Tensor, matrices: _Matrices) -> int:
    """Returns where the tensor's data ends, after the beginning of all data."""
    if tensor.kind not in _BLOCKS:
        raise InvalidRequest(
            f"adapters: tensor {shown(tensor.name)} is of ggml's type {tensor.kind}; F32, F16, BF16 and Q8_0 "
            "can be used"
        )
    values, length = _BLOCKS[tensor.kind]
    # GGUF lists the columns first.
    matrices.add(tensor.name, tensor.shape[::-1])
    return tensor.offset + math.prod(tensor.shape) // values * length
