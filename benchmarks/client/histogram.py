"""Durations in buckets that grow by 2 %: percentiles of any number of values in bounded memory."""

from __future__ import annotations

from math import ceil, exp, log

_GROWTH = log(1.02)
_LEAST_SECONDS = 1e-6
_BUCKETS = ceil(log(1e9) / _GROWTH)  # up to 1,000 seconds


class Histogram:
    """Values are seconds. Percentiles are at most 2 % above the values that were added."""

    def __init__(self) -> None:
        self._buckets = [0] * (_BUCKETS + 1)
        self.count = 0

    def add(self, seconds: float) -> None:
        bucket = int(log(seconds / _LEAST_SECONDS) / _GROWTH) + 1 if seconds > _LEAST_SECONDS else 0
        self._buckets[min(bucket, _BUCKETS)] += 1
        self.count += 1

    def percentile(self, percent: float) -> float:
        """Seconds that `percent` of the values do not exceed; 0 without values."""
        wanted = self.count * percent / 100
        seen = 0
        for bucket, values in enumerate(self._buckets):
            seen += values
            if values and seen >= wanted:
                return _LEAST_SECONDS * exp(bucket * _GROWTH)
        return 0.0

    def clear(self) -> None:
        self._buckets = [0] * (_BUCKETS + 1)
        self.count = 0
