"""Files of a model in Hugging Face's layout: their sizes and headers, without the weights."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from pathlib import Path

import orjson

from drover.v1 import engine_pb2 as pb

_WEIGHTS = ".safetensors"
_HEADER_LENGTH_BYTES = 8
_LONGEST_HEADER = 256 << 20
# Read in full for the digest: they determine tokenisation.
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
_LICENSE_BYTES = 1 << 20
_TYPES = {"F32": "F32", "F16": "F16", "BF16": "BF16", "F8_E4M3": "FP8", "F8_E5M2": "FP8"}
_TWO_BYTES = ("F16", "BF16")


class ModelFiles:
    """A model's folder, read once. Raises OSError for unreadable files, ValueError for weights
    without a header.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = sorted(path for path in folder.iterdir() if path.is_file())
        self._headers = {path.name: _header(path) for path in files if path.suffix == _WEIGHTS}
        self._files = files
        self.size_bytes = sum(path.stat().st_size for path in files)
        self.modified_unix_ns = max((path.stat().st_mtime_ns for path in files), default=0)
        self._values_of_type: Counter[str] = Counter()
        for header in self._headers.values():
            self._count(header)

    @property
    def parameter_count(self) -> int:
        return self._values_of_type.total()

    @property
    def float32_size_bytes(self) -> int:
        """Of all files, when each value of two bytes takes four."""
        return self.size_bytes + 2 * sum(self._values_of_type[each] for each in _TWO_BYTES)

    @property
    def common_type(self) -> str:
        """Most frequent type of the values; empty if there are no safetensors."""
        most = self._values_of_type.most_common(1)
        return _TYPES.get(most[0][0], most[0][0]) if most else ""

    def digest(self, template: str) -> str:
        """Hash of names, sizes and headers, and of the contents of small files: 64 hex digits, equal on every
        worker with the same files and `template`.
        """
        digest = hashlib.sha256(f"safetensors\n{template}\n".encode())
        for path in self._files:
            if path.suffix == _WEIGHTS:
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                digest.update(self._headers[path.name])
            elif path.name in _SMALL_FILES:
                digest.update(f"{path.name} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
        return digest.hexdigest()

    def tensors(self) -> list[pb.Tensor]:
        """All tensors, sorted by name."""
        named = (item for header in self._headers.values() for item in orjson.loads(header).items())
        return [
            pb.Tensor(name=name, type=tensor["dtype"], shape=tensor["shape"])
            for name, tensor in sorted(named, key=lambda item: item[0])
            if name != "__metadata__"
        ]

    def licenses(self) -> list[str]:
        """Without those that would make the list too long."""
        licenses, room_bytes = [], _LICENSE_BYTES
        for path in self._files:
            size = path.stat().st_size
            if path.stem.upper() in ("LICENSE", "LICENCE") and size <= room_bytes:
                room_bytes -= size
                licenses.append(path.read_text(errors="replace"))
        return licenses

    def _count(self, header: bytes) -> None:
        for name, tensor in orjson.loads(header).items():
            if name != "__metadata__":
                self._values_of_type[tensor["dtype"]] += math.prod(tensor["shape"])


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_HEADER_LENGTH_BYTES), "little")
        if not 0 < length <= _LONGEST_HEADER:
            raise ValueError(f"{path} is not a safetensors file")
        return file.read(length)
