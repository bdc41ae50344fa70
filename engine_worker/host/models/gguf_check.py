"""Whether a file is a whole GGUF model, before libraries read it that believe its counts."""

from __future__ import annotations

import math
from pathlib import Path

from drover.errors import InvalidRequest
from engine_worker.gguf_header import Tensor, open_gguf

# Metadata with a vocabulary of a million tokens and their merges are shorter.
_MAX_HEADER_BYTES = 128 * 1024 * 1024
_MAX_VALUES = 1 << 50
_WHAT = "model"


def check_gguf(path: Path) -> None:
    """Read the header, and no more. Raises InvalidRequest for what is no GGUF, or not a whole one. Blocks."""
    with open_gguf(path, _MAX_HEADER_BYTES, _WHAT) as header:
        last = max((_checked(tensor).offset for tensor in header.tensors()), default=0)
        if header.tensor_count and header.data_offset() + last >= path.stat().st_size:
            raise InvalidRequest(f"{_WHAT}: the GGUF file is cut off: its tensors begin after its last byte")


def _checked(tensor: Tensor) -> Tensor:
    if math.prod(tensor.shape) > _MAX_VALUES:
        raise InvalidRequest(f"{_WHAT}: tensor {tensor.name[:100]!r} claims {math.prod(tensor.shape)} values")
    return tensor
