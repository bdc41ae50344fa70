"""Whether a worker ended because there was no memory for it: by the kernel, or by its engine's own words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from engine_worker.host.memory.machine import count_oom_kills

# Of llama.cpp and ggml, PyTorch, SGLang, Python and the C library.
_WORDS = re.compile(
    "out of memory|OutOfMemory|MemoryError|bad_alloc|cannot allocate memory|failed to allocate|unable to "
    "allocate|not enough memory|leave no GPU memory",
    re.IGNORECASE,
)
# How workers say that one of their own processes was killed.
_KILLED = re.compile(r"signal 9\b|SIGKILL|exit ?code:? -9\b", re.IGNORECASE)
# Between a process's end and the host's knowledge of it.
_RECENT_SECONDS = 10.0


class OomKills:
    """`look` at least every few seconds: the kernel counts, and does not say when or whom."""

    def __init__(self, count: Callable[[], int] = count_oom_kills) -> None:
        self._count = count
        self._seen = count()
        self._last = float("-inf")

    def look(self) -> None:
        now = self._count()
        if now > self._seen:
            self._seen, self._last = now, time.monotonic()

    def was_killed(self, reason: str) -> bool:
        """Whether the kernel killed the worker that ended for this reason, or a process of it, for memory."""
        self.look()
        is_recent = time.monotonic() - self._last < _RECENT_SECONDS
        return is_recent and _KILLED.search(reason) is not None

    @staticmethod
    def is_in_words(reason: str) -> bool:
        """Whether the engine says that it got no memory."""
        return _WORDS.search(reason) is not None
