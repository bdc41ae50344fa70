"""A short key for a sequence of texts."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b


def digest_of(texts: Iterable[str]) -> bytes:
    """16 bytes. Each text is preceded by its length, so that ("ab", "c") and ("a", "bc") differ."""
    digest = blake2b(digest_size=16)
    for text in texts:
        data = text.encode(errors="replace")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    return digest.digest()
