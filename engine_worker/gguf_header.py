"""The beginning of a GGUF file from outside: its metadata, and its list of tensors.

Lengths and counts in it may be anything. So it is read up to a bound, and nothing beyond that, whatever it
claims.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from drover.errors import InvalidRequest

_MAX_KEYS = 4096
_MAX_TENSORS = 65_536
_MAX_DIMENSIONS = 4
# Vocabularies and their merges have less than a million. Libraries need some 200 bytes for each.
_MAX_TEXTS = 2_097_152
_MAX_SHOWN = 100
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
# GGUF's numbers for types of values, as `struct` reads them; and those for texts and arrays.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape`: the columns first. `kind`: ggml's number for its type. `offset`: of its data, in bytes after
    the beginning of all data.
    """

    name: str
    shape: list[int]
    kind: int
    offset: int


class GgufHeader:
    """Made by `open_gguf`. `values`: the metadata, None for arrays. Raises InvalidRequest for what cannot be
    true.
    """

    def __init__(self, reader: _BoundedReader, what: str) -> None:
        self._reader = reader
        self._what = what
        if reader.take(4) != b"GGUF":
            raise InvalidRequest("supplied file was not in GGUF format")
        if (version := reader.scalar("I")) not in _VERSIONS:
            raise InvalidRequest(f"{what}: the file has version {version} of GGUF; 2 and 3 can be read")
        self.tensor_count, keys = int(reader.scalar("Q")), int(reader.scalar("Q"))
        if keys > _MAX_KEYS or self.tensor_count > _MAX_TENSORS:
            raise InvalidRequest(
                f"{what}: the GGUF file claims {keys} metadata keys and {self.tensor_count} tensors; at most "
                f"{_MAX_KEYS} and {_MAX_TENSORS} are read"
            )
        self.values: Mapping[str, Value] = {
            reader.text(): reader.value(int(reader.scalar("I"))) for _ in range(keys)
        }

    def tensors(self) -> Iterator[Tensor]:
        """Can be read once."""
        return (self._tensor() for _ in range(self.tensor_count))

    def data_offset(self) -> int:
        """Where the data of the tensors begins. Call it once all tensors are read."""
        alignment = self.values.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or not 1 <= alignment <= self._reader.limit_bytes:
            raise InvalidRequest(f"{self._what}: general.alignment is {alignment!r}, which is not valid")
        return math.ceil(self._reader.at / alignment) * alignment

    def _tensor(self) -> Tensor:
        reader = self._reader
        name, count = reader.text(), int(reader.scalar("I"))
        if count > _MAX_DIMENSIONS:
            raise InvalidRequest(f"{self._what}: tensor {name[:_MAX_SHOWN]!r} claims {count} dimensions")
        shape = [int(reader.scalar("Q")) for _ in range(count)]
        return Tensor(name, shape, int(reader.scalar("I")), int(reader.scalar("Q")))


@contextmanager
def open_gguf(path: Path, limit_bytes: int, what: str) -> Iterator[GgufHeader]:
    """`limit_bytes`: of the header. `what`: begins the messages of errors. Raises InvalidRequest."""
    with path.open("rb") as file:
        yield GgufHeader(_BoundedReader(file, limit_bytes, what), what)


class _BoundedReader:
    """Raises InvalidRequest beyond the file or the limit, before it takes memory for it."""

    def __init__(self, file: BinaryIO, limit_bytes: int, what: str) -> None:
        self._file = file
        self._end = min(file.seek(0, 2), limit_bytes)
        file.seek(0)
        self._what = what
        self._texts = 0
        self.limit_bytes = limit_bytes
        self.at = 0

    def take(self, length: int) -> bytes:
        if self.at + length > self._end or len(taken := self._file.read(length)) < length:
            raise InvalidRequest(
                f"{self._what}: the header of the GGUF file is cut off, or longer than {self._end} bytes"
            )
        self.at += length
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
            raise InvalidRequest(f"{self._what}: the GGUF file has a value of the unknown type {kind}")
        items, count = int(self.scalar("I")), int(self.scalar("Q"))
        if items in _SCALARS:
            self.take(count * struct.calcsize(f"<{_SCALARS[items]}"))
        elif items == _TEXT:
            self._texts += count
            if self._texts > _MAX_TEXTS:
                raise InvalidRequest(
                    f"{self._what}: the GGUF file claims lists of {self._texts} texts; at most {_MAX_TEXTS} "
                    "are read"
                )
            # Each has at least its length, so that the loop ends where the data does.
            for _ in range(count):
                self.take(int(self.scalar("Q")))
        else:
            raise InvalidRequest(f"{self._what}: the GGUF file has an array of arrays")
        return None
