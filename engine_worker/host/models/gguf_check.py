"""Whether a file is a whole GGUF model, before libraries read it that believe its counts."""

from __future__ import annotations

import math
from pathlib import Path

from drover.errors import InvalidRequest
from engine_worker.gguf_values import BoundedReader

# Metadata with a vocabulary of a million tokens and their merges are shorter.
_MAX_HEADER_BYTES = 128 * 1024 * 1024
_MAX_KEYS = 4096
_MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 4
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_WHAT = "model"


def check_gguf(path: Path) -> None:
    """Read the header, and no more. Raises InvalidRequest for what is no GGUF, or not a whole one. Blocks."""
    size = path.stat().st_size
    with path.open("rb") as file:
        reader = BoundedReader(file.read(min(size, _MAX_HEADER_BYTES)), _WHAT)
    if reader.take(4) != b"GGUF":
        raise InvalidRequest("supplied file was not in GGUF format")
    if (version := reader.scalar("I")) not in _VERSIONS:
        raise InvalidRequest(f"{_WHAT}: the file has version {version} of GGUF; 2 and 3 can be read")
    tensors, keys = int(reader.scalar("Q")), int(reader.scalar("Q"))
    if keys > _MAX_KEYS or tensors > _MAX_TENSORS:
        raise InvalidRequest(
            f"{_WHAT}: the GGUF file claims {keys} metadata keys and {tensors} tensors; at most {_MAX_KEYS} "
            f"and {_MAX_TENSORS} are read"
        )
    values = {reader.text(): reader.value(int(reader.scalar("I"))) for _ in range(keys)}
    last = max((_offset_of_tensor(reader) for _ in range(tensors)), default=0)
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or not 1 <= alignment <= _MAX_HEADER_BYTES:
        raise InvalidRequest(f"{_WHAT}: general.alignment is {alignment!r}, which is not valid")
    if math.ceil(reader.at / alignment) * alignment + last >= max(size, 1) and tensors:
        raise InvalidRequest(f"{_WHAT}: the GGUF file is cut off: its tensors begin after its last byte")


def _offset_of_tensor(reader: BoundedReader) -> int:
    name, count = reader.text(), int(reader.scalar("I"))
    if count > _MAX_DIMENSIONS:
        raise InvalidRequest(f"{_WHAT}: tensor {name[:100]!r} claims {count} dimensions")
    shape = [int(reader.scalar("Q")) for _ in range(count)]
    if math.prod(shape) > 1 << 50:
        raise InvalidRequest(f"{_WHAT}: tensor {name[:100]!r} claims {math.prod(shape)} values")
    reader.scalar("I")
    return int(reader.scalar("Q"))
