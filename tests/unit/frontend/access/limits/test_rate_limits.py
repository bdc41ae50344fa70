"""Limits of keys in one frontend, without a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.errors import InvalidRequest, RateLimited
from frontend.access.limits.rate_limits import RateLimits
from frontend.access.limits.shared_counts import SharedCounts
from frontend.database.database import Database
from frontend.database.url import parse_url
from tests.unit.frontend.access.limits.limited_keys import Clock, admitted, key, refusal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(tmp_path: Path, clock: Clock) -> RateLimits:
    """Not started: it never uses the database."""
    database = Database(parse_url(f"sqlite:///{tmp_path / 'presets.sqlite3'}"), 5.0)
    return RateLimits(SharedCounts(database, 10.0), clock)


async def test_requests_beyond_the_limit_are_refused_until_retry_after(
    limits: RateLimits, clock: Clock
) -> None:
    alice = key(requests=6)
    assert len(await admitted(limits, alice, 10)) == 6

    error = await refusal(limits, alice)

    assert error is not None
    assert (error.limit, error.wait_seconds) == ("requests_per_minute", 10)
    assert error.message == (
        "rate limit reached: requests_per_minute of this key is 6. Please try again in 10s."
    )
    clock.pass_seconds(9.999)
    assert await refusal(limits, alice)
    clock.pass_seconds(0.001)
    assert await refusal(limits, alice) is None


async def test_refused_requests_do_not_postpone_the_next(limits: RateLimits, clock: Clock) -> None:
    alice = key(requests=6)
    await admitted(limits, alice, 100)
    clock.pass_seconds(10)
    assert len(await admitted(limits, alice, 100)) == 1


async def test_keys_do_not_share_their_limits(limits: RateLimits) -> None:
    await admitted(limits, key(requests=1), 2)
    assert await refusal(limits, key(requests=1, key_id="k2")) is None


async def test_a_raised_limit_counts_at_once(limits: RateLimits) -> None:
    await admitted(limits, key(requests=2), 3)
    assert len(await admitted(limits, key(requests=5), 9)) == 3


async def test_streams_are_the_requests_in_flight(limits: RateLimits) -> None:
    alice = key(streams=2)
    first, second = await admitted(limits, alice, 5)

    error = await refusal(limits, alice)
    assert error is not None
    assert (error.limit, error.wait_seconds) == ("streams", 1)
    first.end(0)
    first.end(0)
    assert len(await admitted(limits, alice, 5)) == 1
    second.end(0)


async def test_choices_are_answers_in_flight(limits: RateLimits) -> None:
    alice = key(streams=3)
    one, two = await admitted(limits, alice, 2)
    with pytest.raises(RateLimited, match="streams of this key is 3"):
        await one.add_streams(2)
    two.end(0)
    await one.add_streams(2)
    assert await refusal(limits, alice)
    one.end(0)
    assert len(await admitted(limits, alice, 5)) == 3


async def test_a_request_refused_for_its_choices_costs_no_request(limits: RateLimits) -> None:
    alice = key(requests=3, streams=3)
    first, second = await admitted(limits, alice, 2)
    for _ in range(2):
        with pytest.raises(RateLimited, match="streams of this key is 3"):
            await second.add_streams(2)
        second.end(0)
        (second,) = await admitted(limits, alice, 1)
    first.end(0)


async def test_more_choices_than_the_limit_ever_allows_are_an_invalid_request(limits: RateLimits) -> None:
    (one,) = await admitted(limits, key(streams=3), 1)
    with pytest.raises(InvalidRequest, match="4 answers that run at the same time, and the limit streams"):
        await one.add_streams(3)


async def test_tokens_are_settled_when_the_answer_ends(limits: RateLimits, clock: Clock) -> None:
    alice = key(tokens=600)
    (first,) = await admitted(limits, alice, 1)
    first.end(1200)

    error = await refusal(limits, alice)

    assert error is not None
    assert error.limit == "tokens_per_minute"
    # 600 of debt, and room for an answer like the last one, which is an empty bucket.
    assert error.wait_seconds == pytest.approx(120, abs=0.01)
    clock.pass_seconds(120)
    assert await refusal(limits, alice) is None


async def test_an_answer_is_expected_to_take_what_the_last_ones_took(limits: RateLimits) -> None:
    alice = key(tokens=1000)
    (first,) = await admitted(limits, alice, 1)
    first.end(200)

    in_flight = await admitted(limits, alice, 100)

    assert len(in_flight) == 4
    for each in in_flight:
        each.end(50)
    assert len(await admitted(limits, alice, 1)) == 1


async def test_a_request_that_took_no_tokens_gives_its_estimate_back(limits: RateLimits) -> None:
    alice = key(tokens=100)
    for _ in range(20):
        admission = await limits.admit(alice, 10)
        admission.end(0)
    assert await refusal(limits, alice) is None


async def test_the_limit_that_takes_longest_is_named(limits: RateLimits) -> None:
    alice = key(requests=1, tokens=60, streams=1)
    (first,) = await admitted(limits, alice, 1)
    error = await refusal(limits, alice)
    assert error is not None
    assert error.limit == "requests_per_minute"
    first.end(600)
    error = await refusal(limits, alice)
    assert error is not None
    assert error.limit == "tokens_per_minute"


async def test_headers_show_what_is_left(limits: RateLimits, clock: Clock) -> None:
    (one,) = await admitted(limits, key(requests=60, tokens=600), 1)
    one.end(300)

    requests, tokens = one.states.requests, one.states.tokens

    assert requests is not None
    assert tokens is not None
    assert (requests.limit, requests.remaining, requests.reset_us) == (60, 59, 1_000_000)
    assert (tokens.limit, tokens.remaining, tokens.reset_us) == (600, 300, 30_000_000)
    clock.pass_seconds(30)
    assert one.states.tokens is not None
    assert (one.states.tokens.remaining, one.states.tokens.reset_us) == (600, 0)
