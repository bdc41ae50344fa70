"""The arithmetic of limits per minute, with a clock that the tests move."""

from __future__ import annotations

import pytest

from frontend.access.limits.bucket import MICROSECONDS, NEVER_US, UNIT, Bucket

_LIMIT = 60


def test_a_minutes_worth_may_be_used_at_once_and_then_one_each_second() -> None:
    bucket, now = Bucket(), 1_000 * MICROSECONDS
    for _ in range(_LIMIT):
        assert bucket.wait_us(_LIMIT, now, UNIT) == 0
        bucket.add(_LIMIT, now, UNIT)

    assert bucket.wait_us(_LIMIT, now, UNIT) == MICROSECONDS
    assert bucket.wait_us(_LIMIT, now + MICROSECONDS - 1, UNIT) == 1
    assert bucket.wait_us(_LIMIT, now + MICROSECONDS, UNIT) == 0
    assert bucket.reset_us(_LIMIT, now) == 60 * MICROSECONDS


@pytest.mark.parametrize("limit", [1, 7, 60, 999, 1_000_000])
def test_a_request_is_admitted_after_its_wait_and_not_a_moment_sooner(limit: int) -> None:
    bucket, now = Bucket(), 5 * MICROSECONDS
    bucket.add(limit, now, limit * UNIT + UNIT // 3)

    wait = bucket.wait_us(limit, now, UNIT)

    assert bucket.wait_us(limit, now + wait, UNIT) == 0
    assert bucket.wait_us(limit, now + wait - 1, UNIT) > 0


def test_a_debt_drains_before_there_is_room_again() -> None:
    bucket = Bucket()
    bucket.add(_LIMIT, 0, 3 * _LIMIT * UNIT)

    assert bucket.free(_LIMIT, 0) == -2 * _LIMIT * UNIT
    assert bucket.wait_us(_LIMIT, 0, UNIT) == 121 * MICROSECONDS


def test_what_is_given_back_is_free_again_and_never_more_than_the_limit() -> None:
    bucket = Bucket()
    bucket.add(_LIMIT, 0, 10 * UNIT)
    bucket.add(_LIMIT, 0, -50 * UNIT)

    assert bucket.free(_LIMIT, 0) == _LIMIT * UNIT


def test_an_amount_above_the_limit_is_admitted_when_nothing_is_used() -> None:
    bucket = Bucket()
    assert bucket.wait_us(_LIMIT, 0, 100 * _LIMIT * UNIT) == 0
    bucket.add(_LIMIT, 0, UNIT)
    assert bucket.wait_us(_LIMIT, 0, 100 * _LIMIT * UNIT) == MICROSECONDS


def test_a_clock_that_steps_back_drains_nothing() -> None:
    bucket = Bucket()
    bucket.add(_LIMIT, 10 * MICROSECONDS, UNIT)
    assert bucket.level(_LIMIT, 0) == UNIT


def test_a_limit_of_zero_admits_nothing() -> None:
    assert Bucket().wait_us(0, 0, UNIT) == NEVER_US


def test_a_debt_stays_within_the_databases_64_bits() -> None:
    bucket = Bucket()
    bucket.add(1_000_000_000, 0, 10**40)
    assert bucket.used < 2**63
