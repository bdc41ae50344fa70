"""A bound of what runs at once for callers: one more is refused, and does not wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drover.errors import QueueFull


class AtOnce:
    """`what`: in the plural, for the error's text."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._running = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Raises QueueFull."""
        if self._running >= self._most:
            raise QueueFull(f"{self._most} {self._what} run at this host, please try again later")
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
