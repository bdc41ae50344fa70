"""Returns freed memory to the system, which glibc does only on request. No effect with other C libraries."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from resource import getpagesize

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 64 * 1024
_ARENAS = 2
_EVERY_SECONDS = 5.0
# A collection stops the event loop for all objects of in-flight requests: 10 ms for this many.
_FEW_REQUESTS = 16
_WORTH_BYTES = 8 * 1024 * 1024
_STATM = Path("/proc/self/statm")


def configure_malloc() -> None:
    """Make glibc return large blocks at once. By default each large block raises the mmap threshold, up to
    32 MiB, and each thread has an arena: after some large bodies a frontend kept a third more memory, and
    a host nearly twice as much after some long lists of a hub.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, _LARGE_BYTES)
        mallopt(_ARENA_MAX, _ARENAS)


def collect_and_trim() -> None:
    """Collect garbage and release free memory. The messages of a failed call are often in reference cycles:
    90 MB after a worker that flooded. Free memory between blocks is released by malloc_trim only.
    """
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def resident_bytes() -> int:
    """Resident memory of this process in bytes. Raises OSError on systems other than Linux."""
    return int(_STATM.read_bytes().split()[1]) * getpagesize()


async def trim_after_load(
    requests: Callable[[], int],
    resident: Callable[[], int] = resident_bytes,
    trim: Callable[[], None] = collect_and_trim,
    every_seconds: float = _EVERY_SECONDS,
) -> None:
    """Trim whenever the process has grown and few requests run, until cancelled. `requests`: returns how many
    run; `resident`: returns bytes.
    """
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
