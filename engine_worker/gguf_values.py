"""Reads GGUF's values from the beginning of a file from outside: never beyond it, whatever it claims."""

from __future__ import annotations

import struct

from drover.errors import InvalidRequest

# GGUF's numbers for types of values, as `struct` reads them; and those for texts and arrays.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9

Value = str | int | float | bool | None


class BoundedReader:
    """Reads what is in `data`. `what`: begins the messages of errors. Raises InvalidRequest beyond it."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self.at = 0

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._data):
            raise InvalidRequest(
                f"{self._what}: the header of the GGUF file is cut off, or longer than {len(self._data)} "
                "bytes"
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
            raise InvalidRequest(f"{self._what}: the GGUF file has a value of the unknown type {kind}")
        items, count = int(self.scalar("I")), int(self.scalar("Q"))
        if items in _SCALARS:
            self.take(count * struct.calcsize(f"<{_SCALARS[items]}"))
        elif items == _TEXT:
            # Each has at least its length, so that the loop ends where the data does.
            for _ in range(count):
                self.take(int(self.scalar("Q")))
        else:
            raise InvalidRequest(f"{self._what}: the GGUF file has an array of arrays")
        return None
