"""An adapter in a GGUF file: its metadata and its list of tensors.

The file is a client's: lengths and counts in it may be anything. So the beginning is read, at most
`_MAX_HEADER_BYTES`, and everything is looked for in that.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path

from drover.errors import InvalidRequest
from engine_worker.adapters.matrices import Pair, pairs_of, shown

_MAX_HEADER_BYTES = 8 * 1024 * 1024
_MAX_KEYS = 4096
_MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 4
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
# GGUF's numbers for types of values, as `struct` reads them; and those for texts and arrays.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
# ggml's numbers for types of tensors that adapters have: values in a block, and bytes of one.
_BLOCKS = {0: (1, 4), 1: (1, 2), 8: (32, 34), 30: (1, 2)}
_SUFFIXES = (".lora_a", ".lora_b")

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class GgufAdapter:
    """`architecture`: of the model that it was made for."""

    architecture: str
    pairs: list[Pair]


def read_gguf(path: Path) -> GgufAdapter:
    """Raises InvalidRequest for a file that is no LoRA in GGUF."""
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = _Reader(file.read(min(size, _MAX_HEADER_BYTES)))
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


def _tensor(reader: _Reader, matrices: _Matrices) -> int:
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


class _Reader:
    """Reads what is in `data`, the beginning of a file. Raises InvalidRequest beyond it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            raise InvalidRequest(
                f"adapters: the header of the GGUF file is cut off, or longer than {_MAX_HEADER_BYTES} bytes"
            )
        taken, self.at = self._data[self.at : end], end
        return taken

    def scalar(self, code: str) -> int | float | bool:
        (value,) = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}")))
        assert isinstance(value, int | float)
        return value

    def text(self) -> str:
        return self.take(int(self.scalar("Q"))).decode(errors="replace")

    def value(self, kind: int) -> Value:
        """A metadata value; None for an array, which is skipped."""
        if kind == _TEXT:
            return self.text()
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind != _ARRAY:
            raise InvalidRequest(f"adapters: the GGUF file has a value of the unknown type {kind}")
        items, count = int(self.scalar("I")), int(self.scalar("Q"))
        if items in _SCALARS:
            self.take(count * struct.calcsize(f"<{_SCALARS[items]}"))
        elif items == _TEXT:
            # Each has at least its length, so that the loop ends where the data does.
            for _ in range(count):
                self.text()
        else:
            raise InvalidRequest("adapters: the GGUF file has an array of arrays")
        return None
