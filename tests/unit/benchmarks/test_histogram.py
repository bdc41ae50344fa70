from __future__ import annotations

import pytest

from benchmarks.client.histogram import Histogram


def test_percentiles_are_at_most_two_percent_above_the_value() -> None:
    times = Histogram()
    for milliseconds in range(1, 1001):
        times.add(milliseconds / 1000)
    for percent, seconds in ((50, 0.5), (99, 0.99), (100, 1.0)):
        assert seconds <= times.percentile(percent) <= seconds * 1.021


def test_extremes_stay_within_the_buckets() -> None:
    times = Histogram()
    times.add(0.0)
    times.add(1e9)
    assert times.percentile(50) == pytest.approx(1e-6)
    assert times.percentile(100) > 900
    assert times.count == 2


def test_an_empty_or_cleared_histogram_is_zero() -> None:
    times = Histogram()
    assert times.percentile(99) == 0.0
    times.add(1.0)
    times.clear()
    assert (times.percentile(99), times.count) == (0.0, 0)
