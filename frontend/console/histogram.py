"""Counts of durations in buckets that grow by a quarter, for percentiles right to about a tenth."""

from __future__ import annotations

import math
from array import array

_FIRST_SECONDS = 0.001
_GROWTH = 1.25
# The last one begins at 1,021 s.
_BUCKETS = 64
_LOG_GROWTH = math.log(_GROWTH)


class DurationHistogram:
    """Constant size: 256 bytes of counts."""

    __slots__ = ("_counts", "total")

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * _BUCKETS))
        self.total = 0

    def add(self, seconds: float) -> None:
        self._counts[_bucket_of(seconds)] += 1
        self.total += 1

    def subtract(self, other: DurationHistogram) -> None:
        """Remove what `other` counts, all of which was added here too."""
        if other.total:
            for number, count in enumerate(other._counts):
                self._counts[number] -= count
            self.total -= other.total

    def clear(self) -> None:
        if self.total:
            self._counts = array("I", bytes(4 * _BUCKETS))
            self.total = 0

    def quantile(self, share: float) -> float | None:
        """The duration that `share` of them do not exceed; None without any."""
        if not self.total:
            return None
        rank, before = share * self.total, 0
        for number, count in enumerate(self._counts):
            if count and before + count >= rank:
                upper = _FIRST_SECONDS * _GROWTH**number
                lower = upper / _GROWTH if number else 0.0
                return lower + (upper - lower) * max(0.0, rank - before) / count
            before += count
        return _FIRST_SECONDS * _GROWTH ** (_BUCKETS - 1)


def _bucket_of(seconds: float) -> int:
    if seconds <= _FIRST_SECONDS:
        return 0
    return min(_BUCKETS - 1, 1 + int(math.log(seconds / _FIRST_SECONDS) / _LOG_GROWTH))
