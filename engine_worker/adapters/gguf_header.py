"""An adapter in a GGUF file: its metadata and its list of tensors.

The file is a client's: lengths and counts in it may be anything. So the beginning is read, at most
`_MAX_HEADER_BYTES`, and everything is looked for in that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from drover.errors import InvalidRequest
from engine_worker.adapters.matrices import Pair, pairs_of, shown
from engine_worker.gguf_values import BoundedReader, Value

_MAX_HEADER_BYTES = 8 * 1024 * 1024
_MAX_KEYS = 4096
_MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 4
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
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
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = BoundedReader(file.read(min(size, _MAX_HEADER_BYTES)), "adapters")
    if reader.take(4) != b"GGUF":
        raise InvalidRequest("supplied file was not in GGUF format")
    if (version := reader.scalar("I")) not in _VERSIONS:
        raise InvalidRequest(f"adapters: the file has version {version} of GGUF; 2 and 3 can be read")
    tensors, keys = int(reader.scalar("Q")), int(reader.scalar("Q"))
    if keys > _MAX_KEYS or tensors > _MAX_TENSORS:
        raise InvalidRequest(
            f"adapters: the file claims {keys} metadata keys and {tensors} tensors; at most {_MAX_KEYS} and "
            f"{_MAX_TENSORS} are read"
        )
    values = {reader.text(): reader.value(int(reader.scalar("I"))) for _ in range(keys)}
    _check_kind(values)
    matrices = _Matrices()
    ends = [_tensor(reader, matrices) for _ in range(tensors)]
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment > _MAX_HEADER_BYTES:
        raise InvalidRequest(f"adapters: general.alignment is {alignment!r}, which is not valid")
    begin = math.ceil(reader.at / alignment) * alignment
    if begin + max(ends, default=0) > size:
        raise InvalidRequest("adapters: the GGUF file is cut off: its tensors end after its last byte")
    pairs = pairs_of(matrices.first, matrices.second, matrices.foreign)
    return GgufAdapter(str(values.get("general.architecture", "")), list(pairs))


def _check_kind(values: dict[str, Value]) -> None:
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


def _tensor(reader: BoundedReader, matrices: _Matrices) -> int:
    """Read an entry of the list of tensors; return where its data ends, after the beginning of all data."""
    name, count = reader.text(), int(reader.scalar("I"))
    if count > _MAX_DIMENSIONS:
        raise InvalidRequest(f"adapters: tensor {shown(name)} claims {count} dimensions")
    shape = [int(reader.scalar("Q")) for _ in range(count)]
    kind, offset = int(reader.scalar("I")), int(reader.scalar("Q"))
    if kind not in _BLOCKS:
        raise InvalidRequest(
            f"adapters: tensor {shown(name)} is of ggml's type {kind}; F32, F16, BF16 and Q8_0 can be used"
        )
    values, length = _BLOCKS[kind]
    # GGUF lists the columns first.
    matrices.add(name, shape[::-1])
    return offset + math.prod(shape) // values * length
