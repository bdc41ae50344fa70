"""Shrinks a body that still fails in the same way."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_SECONDS = 60.0


def smallest(body: bytes, fails: Callable[[bytes], bool]) -> bytes:
    """Takes pieces out, ever smaller ones, for as long as the rest still fails."""
    deadline = time.monotonic() + _LONGEST_SECONDS
    piece = max(1, len(body) // 2)
    while piece:
        at = 0
        while at < len(body) and time.monotonic() < deadline:
            without = body[:at] + body[at + piece :]
            if fails(without):
                body = without
            else:
                at += piece
        piece //= 2
    return body
