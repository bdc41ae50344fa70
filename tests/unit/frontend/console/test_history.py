"""Buckets of the last 15 minutes, and percentiles."""

from __future__ import annotations

from random import Random

import pytest

from frontend.console.histogram import DurationHistogram
from frontend.console.history import BUCKET_SECONDS, BUCKETS, Series

_NOW = 1_700_000_000.0


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_percentile_is_right_to_a_tenth(share: float) -> None:
    random, histogram = Random(7), DurationHistogram()
    durations = sorted(random.lognormvariate(-1.0, 1.2) for _ in range(5000))
    for duration in durations:
        histogram.add(duration)
    found = histogram.quantile(share)
    assert found == pytest.approx(durations[int(share * len(durations))], rel=0.1)


def test_without_durations_there_is_no_percentile() -> None:
    histogram = DurationHistogram()
    assert histogram.quantile(0.5) is None
    histogram.add(0.3)
    histogram.clear()
    assert histogram.quantile(0.99) is None


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
def test_durations_beyond_the_buckets_count_in_the_outermost(seconds: float) -> None:
    histogram = DurationHistogram()
    histogram.add(seconds)
    found = histogram.quantile(0.5)
    assert found is not None
    assert 0 <= found <= 0.001 or found > 1000


def test_the_window_is_the_sum_of_the_last_15_minutes() -> None:
    series = Series()
    for minute in range(40):
        now = _NOW + 60 * minute
        series.add_request(now, failed=minute % 2 == 0, moves=1, ttft_seconds=0.2)
        series.add_tokens(now, prompt=100, cached=25, generated=10)
    series.advance(_NOW + 60 * 39)
    window = series.window
    assert (window.requests, window.moves, window.generated_tokens) == (15, 15, 150)
    assert window.errors == 7
    assert window.hit_rate == 0.25
    assert window.ttft.total == 15
    series.advance(_NOW + 60 * 100)
    assert (window.requests, window.prompt_tokens, window.ttft.quantile(0.5)) == (0, 0, None)
    assert window.hit_rate is None


def test_a_jump_over_several_buckets_leaves_nothing_old() -> None:
    series = Series()
    for number in range(BUCKETS):
        series.add_request(_NOW + number * BUCKET_SECONDS, failed=False, moves=0, ttft_seconds=0)
    series.advance(_NOW + (BUCKETS + 9) * BUCKET_SECONDS)
    assert series.window.requests == BUCKETS - 10
    assert (
        sum(point[5] or 0 for point in series.points(_NOW + (BUCKETS + 9) * BUCKET_SECONDS)) == BUCKETS - 10
    )


def test_a_point_has_rates_percentiles_and_gauges() -> None:
    series = Series()
    begin = _NOW - _NOW % BUCKET_SECONDS
    series.add_tokens(begin + 1, prompt=500, cached=0, generated=50)
    series.add_request(begin + 1, failed=True, moves=2, ttft_seconds=0.5)
    series.raise_gauges(begin + 2, running=3, waiting=9)
    series.raise_gauges(begin + 3, running=8, waiting=1)
    [now] = series.points(begin + 2.5)
    assert now[:3] == [begin, 20.0, 200.0]
    [point] = series.points(begin + 5)[:1]
    assert point[:3] == [begin, 10.0, 100.0]
    assert point[3] == pytest.approx(0.5, rel=0.25)
    assert point[5:] == [1, 1, 2, 8, 9]


def test_rates_are_of_whole_buckets_and_a_minute() -> None:
    series = Series()
    begin = _NOW - _NOW % BUCKET_SECONDS
    for second in range(0, 90, 5):
        series.add_tokens(begin + second, 0, 0, 100)
        series.add_request(begin + second, failed=False, moves=0, ttft_seconds=0)
    assert series.requests_per_minute(begin + 86) == 12
    assert series.tokens_per_second(begin + 90) == 20.0


def test_a_clock_that_is_set_back_adds_to_the_newest_bucket() -> None:
    series = Series()
    series.add_request(_NOW, failed=False, moves=0, ttft_seconds=0)
    series.add_request(_NOW - 3600, failed=False, moves=0, ttft_seconds=0)
    assert [point[5] for point in series.points(_NOW)] == [2]
