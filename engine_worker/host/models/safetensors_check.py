"""Whether a file is a whole safetensors file, before its header is believed."""

from __future__ import annotations

import math
from pathlib import Path

import orjson

from drover.errors import InvalidRequest

_LENGTH_BYTES = 8
# 100,000 tensors have less, and Python's objects for it stay below a few hundred MB.
_MAX_HEADER_BYTES = 32 * 1024 * 1024
# Of all files of a model together.
_MAX_HEADERS_BYTES = 64 * 1024 * 1024
_MAX_TENSORS = 262_144
_MAX_DIMENSIONS = 16
_MAX_VALUES = 1 << 50
_MAX_NAME = 32


def check_folder(folder: Path) -> None:
    """Read the headers of a model's files, and no more: a manifest may name one file many times. Blocks.

    Raises InvalidRequest, OSError.
    """
    header_bytes = 0
    for path in sorted(folder.glob("*.safetensors")):
        header_bytes += check_safetensors(path, path.name)
        if header_bytes > _MAX_HEADERS_BYTES:
            raise InvalidRequest(
                f"the headers of the safetensors files have more than {_MAX_HEADERS_BYTES} bytes together"
            )


def check_safetensors(path: Path, name: str) -> int:
    """Read the header, and no more. Returns its length in bytes. Blocks. `name`: for errors.

    Raises InvalidRequest, OSError.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= size - _LENGTH_BYTES:
            raise InvalidRequest(f"{name} is not a safetensors file, or is cut off")
        if length > _MAX_HEADER_BYTES:
            raise InvalidRequest(
                f"{name}: the header claims {length} bytes; at most {_MAX_HEADER_BYTES} are read"
            )
        header = file.read(length)
    try:
        tensors = orjson.loads(header)
    except orjson.JSONDecodeError:
        tensors = None
    if not isinstance(tensors, dict) or len(tensors) > _MAX_TENSORS:
        raise InvalidRequest(f"{name}: the header is no JSON object with at most {_MAX_TENSORS} tensors")
    tensors.pop("__metadata__", None)
    data_bytes = size - _LENGTH_BYTES - length
    for key, tensor in tensors.items():
        if not _is_tensor(tensor, data_bytes):
            raise InvalidRequest(
                f"{name}: tensor {key[:100]!r} has no valid dtype, shape and data_offsets, or is cut off"
            )
    return length


def _is_tensor(tensor: object, data_bytes: int) -> bool:
    match tensor:
        case {"dtype": str(kind), "shape": list(shape), "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            return False
    if len(kind) > _MAX_NAME or len(shape) > _MAX_DIMENSIONS or not all(type(each) is int for each in shape):
        return False
    return min(shape, default=0) >= 0 and math.prod(shape) <= _MAX_VALUES and 0 <= begin <= end <= data_bytes
