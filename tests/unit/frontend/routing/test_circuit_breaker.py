"""Circuit breaker."""

from __future__ import annotations

from frontend.routing.circuit_breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _is_open(breaker: CircuitBreaker) -> bool:
    """In a function, since mypy assumes that a property does not change."""
    return breaker.is_open


def _failing(breaker: CircuitBreaker, clock: Clock, times: int) -> None:
    for _ in range(times):
        clock.seconds += 1
        breaker.failed(breaker.begin())


def test_three_failures_in_a_row_open_it() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    _failing(breaker, clock, 2)
    assert not _is_open(breaker)
    breaker.succeeded(breaker.begin())
    _failing(breaker, clock, 2)
    assert not _is_open(breaker)
    _failing(breaker, clock, 1)
    assert _is_open(breaker)


def test_when_half_open_one_trial_request_is_allowed() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    _failing(breaker, clock, 3)
    clock.seconds += 2
    assert not _is_open(breaker)
    probe = breaker.begin()
    assert _is_open(breaker)
    breaker.succeeded(probe)
    assert not _is_open(breaker)


def test_an_inconclusive_trial_request_allows_another() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    _failing(breaker, clock, 3)
    clock.seconds += 2
    breaker.ended(breaker.begin())
    assert not _is_open(breaker)


def test_a_thousand_streams_that_fail_together_are_one_failure() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    attempts = [breaker.begin() for _ in range(1000)]
    clock.seconds += 5
    for attempt in attempts:
        breaker.failed(attempt)
    assert not _is_open(breaker)


def test_an_old_stream_does_not_close_the_breaker() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    old = breaker.begin()
    _failing(breaker, clock, 3)
    breaker.succeeded(old)
    breaker.ended(old)
    assert _is_open(breaker)


def test_open_time_grows_to_half_a_minute_and_no_further() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock)
    _failing(breaker, clock, 5_000)
    clock.seconds += 20
    assert _is_open(breaker)
    clock.seconds += 20
    assert not _is_open(breaker)
