"""Memory that has been freed goes back to the system."""

from __future__ import annotations

import ctypes

# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 64 * 1024
_ARENAS = 2


def give_back_freed_memory() -> None:
    """glibc keeps what it has freed: each large block raises the size from which blocks are maps of their
    own, up to 32 MiB, and each thread has an arena. A frontend that had read some large bodies kept a third
    more memory than before. With another C library this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)
