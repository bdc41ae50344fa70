"""Limits of CPU time for code that must be fast."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Measuring coverage traces each line: loops in Python take up to three times as long.
_TRACER_FACTOR = 3


@contextmanager
def within_cpu(seconds: float) -> Iterator[None]:
    """Fail if the block takes more CPU time of this process, whatever else the machine does."""
    limit = seconds * (_TRACER_FACTOR if sys.gettrace() is not None else 1)
    began = time.process_time()
    yield
    took = time.process_time() - began
    assert took < limit, f"{took:.2f} s of CPU time, limit {limit:.2f} s"
