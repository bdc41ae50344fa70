"""gguf's reader, but for arrays: it makes some ten numpy objects for each item, which takes seconds for a
vocabulary of 262,144 tokens.
"""

from __future__ import annotations

from typing import Any

import numpy
from gguf import GGUFReader, GGUFValueType
from numpy.typing import NDArray

_COUNT_AT, _ITEMS_AT, _LENGTH_BYTES = 4, 12, 8


class QuickGgufReader(GGUFReader):
    """Arrays of numbers are one part of their field, which `contents()` reads as it reads many.

    Raises IndexError, KeyError, OverflowError or ValueError for a file that is not whole.
    """

    def _get_field_parts(
        self, orig_offs: int, raw_type: int
    ) -> tuple[int, list[NDArray[Any]], list[int], list[GGUFValueType]]:
        if raw_type != GGUFValueType.ARRAY or self.byte_order != "I":
            return super()._get_field_parts(orig_offs, raw_type)
        head = [self._get(orig_offs, numpy.uint32), self._get(orig_offs + _COUNT_AT, numpy.uint64)]
        items, count, begin = GGUFValueType(head[0][0]), int(head[1][0]), orig_offs + _ITEMS_AT
        number = self.gguf_scalar_to_np.get(items)
        if (number is None and items != GGUFValueType.STRING) or not count:
            return super()._get_field_parts(orig_offs, raw_type)
        parts = self._texts(begin, count) if number is None else [self._numbers(begin, count, number)]
        size = sum(part.nbytes for part in parts) + (_LENGTH_BYTES * count if number is None else 0)
        indices = list(range(len(head), len(head) + len(parts)))
        return _ITEMS_AT + size, [*head, *parts], indices, [GGUFValueType.ARRAY, items]

    def _numbers(self, begin: int, count: int, number: type[numpy.generic]) -> NDArray[Any]:
        if count * numpy.dtype(number).itemsize > len(self.data) - begin:
            raise ValueError("an array is longer than the file")
        return self._get(begin, number, count)

    def _texts(self, begin: int, count: int) -> list[NDArray[Any]]:
        """Each takes the bytes of its length at least, so that a wrong count ends where the file does."""
        data = self.data.view(numpy.ndarray)
        lengths, at, parts = data.data, begin, []
        for _ in range(count):
            length = int.from_bytes(lengths[at : at + _LENGTH_BYTES], "little")
            at += _LENGTH_BYTES + length
            if at > len(data):
                raise ValueError("a text is longer than the file")
            parts.append(data[at - length : at])
        return parts
