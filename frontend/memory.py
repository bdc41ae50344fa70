"""Memory that requests have freed goes back to the system, which glibc does only when it is asked to. With
another C library the process merely keeps it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from resource import getpagesize

# Of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 64 * 1024
_ARENAS = 2
_EVERY_SECONDS = 5.0
# Collecting goes through all objects of requests in flight while nothing else runs: 10 ms for so few.
_FEW_REQUESTS = 16
_WORTH_BYTES = 8 * 1024 * 1024
_STATM = Path("/proc/self/statm")


def configure_malloc() -> None:
    """glibc keeps what it has freed: each large block raises the size from which blocks are maps of their
    own, up to 32 MiB, and each thread has an arena. A frontend that had read some large bodies kept a third
    more memory than before.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)


def collect_and_trim() -> None:
    """Messages that a failed call held are often in cycles: 90 MB were, of a worker that flooded. What lies
    free between blocks is released only by malloc_trim.
    """
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_bytes() -> int:
    """Of this process. Raises OSError where the system is not Linux."""
    return int(_STATM.read_bytes().split()[1]) * getpagesize()


async def trim_after_load(
    requests: Callable[[], int],
    resident: Callable[[], int] = resident_bytes,
    trim: Callable[[], None] = collect_and_trim,
    every_seconds: float = _EVERY_SECONDS,
) -> None:
    """Each time the process has grown and few `requests` run, until it is cancelled. `resident`: bytes."""
    try:
        level = resident()
    except OSError:
        return
    while True:
        await asyncio.sleep(every_seconds)
        level = min(level, resident())
        if requests() <= _FEW_REQUESTS and resident() > level + _WORTH_BYTES:
            trim()
            level = resident()
