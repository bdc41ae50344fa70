"""When a worker that failed is asked again."""

from __future__ import annotations

from frontend.routing.circuit_breaker import Breaker


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _is_open(breaker: Breaker) -> bool:
    """A call, so that mypy does not take it for the same each time."""
    return breaker.is_open


def _failing(breaker: Breaker, clock: Clock, times: int) -> None:
    for _ in range(times):
        clock.seconds += 1
        breaker.failed(breaker.begin())


def test_three_failures_in_a_row_open_it() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    _failing(breaker, clock, 2)
    assert not _is_open(breaker)
    breaker.succeeded(breaker.begin())
    _failing(breaker, clock, 2)
    assert not _is_open(breaker)
    _failing(breaker, clock, 1)
    assert _is_open(breaker)


def test_after_its_rest_one_request_finds_out() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    _failing(breaker, clock, 3)
    clock.seconds += 2
    assert not _is_open(breaker)
    probe = breaker.begin()
    assert _is_open(breaker)
    breaker.succeeded(probe)
    assert not _is_open(breaker)


def test_a_probe_that_says_nothing_lets_another_one_through() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    _failing(breaker, clock, 3)
    clock.seconds += 2
    breaker.ended(breaker.begin())
    assert not _is_open(breaker)


def test_a_thousand_streams_that_die_together_are_one_failure() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    attempts = [breaker.begin() for _ in range(1000)]
    clock.seconds += 5
    for attempt in attempts:
        breaker.failed(attempt)
    assert not _is_open(breaker)


def test_the_end_of_an_old_stream_says_nothing_of_now() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    old = breaker.begin()
    _failing(breaker, clock, 3)
    breaker.succeeded(old)
    breaker.ended(old)
    assert _is_open(breaker)


def test_rests_grow_to_half_a_minute_and_no_further() -> None:
    clock = Clock()
    breaker = Breaker(clock)
    _failing(breaker, clock, 5_000)
    clock.seconds += 20
    assert _is_open(breaker)
    clock.seconds += 20
    assert not _is_open(breaker)
