"""Vectors that are a function of a text's words: texts with common words point in similar directions."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from hashlib import blake2b

COMPONENTS = 64
_WORD = re.compile(r"\w+")


def vector(text: str, seed: int) -> list[float]:
    """The sum of the words' vectors, not normalised."""
    words = _WORD.findall(text.lower()) or [text]
    hashes = [blake2b(word.encode(), key=b"%d" % seed, digest_size=COMPONENTS).digest() for word in words]
    return [(sum(column) - 127.5 * len(words)) / 127.5 for column in zip(*hashes, strict=True)]


def unit(values: Iterable[float]) -> list[float]:
    """The vector of length 1 in the same direction."""
    kept = list(values)
    length = math.sqrt(sum(value * value for value in kept)) or 1.0
    return [value / length for value in kept]
