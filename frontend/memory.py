"""Memory of requests that are over goes back to the system when few requests run."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from resource import getpagesize

_EVERY_SECONDS = 5.0
# Collecting goes through all objects of requests in flight while nothing else runs: 10 ms for so few.
_FEW_REQUESTS = 16
_WORTH_BYTES = 8 * 1024 * 1024
_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Of this process. Raises OSError where the system is not Linux."""
    return int(_STATM.read_bytes().split()[1]) * getpagesize()


def give_back() -> None:
    """Messages that a failed call held are often in cycles: 90 MB were, of a worker that flooded. glibc gives
    back what lies free between blocks only when it is asked to.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


async def keep_giving_back(
    requests: Callable[[], int],
    resident: Callable[[], int] = resident_bytes,
    give_back: Callable[[], None] = give_back,
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
            give_back()
            level = resident()
