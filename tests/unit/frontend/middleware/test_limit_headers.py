"""Headers about limits: how durations are written, and what refusals have."""

from __future__ import annotations

import pytest

from drover.errors import RateLimited
from frontend.middleware.limit_headers import duration, refused_headers


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (120_000, "120ms"),
        (1_000_000, "1s"),
        (8_640_000, "8.64s"),
        (59_999_500, "1m0s"),
        (360_000_000, "6m0s"),
        (90_500_000, "1m30.5s"),
        (3_600_000_000, "1h0m0s"),
    ],
)
def test_a_duration_is_written_as_go_writes_it(microseconds: int, text: str) -> None:
    assert duration(microseconds) == text


@pytest.mark.parametrize(
    ("path", "seconds", "headers"),
    [
        ("/v1/chat/completions", 0.0001, {b"retry-after-ms": b"1"}),
        ("/v1/messages", 119.9994, {b"retry-after-ms": b"120000"}),
        ("/v1/messages", 121, {b"retry-after-ms": b"121000", b"x-should-retry": b"false"}),
        ("/v1/responses", 3600, {b"retry-after-ms": b"3600000", b"x-should-retry": b"false"}),
        ("/api/chat", 3600, {}),
        ("/v1/systemone", 3600, {}),
    ],
)
def test_sdks_wait_for_milliseconds_and_no_longer_than_two_minutes(
    path: str, seconds: float, headers: dict[bytes, bytes]
) -> None:
    assert dict(refused_headers(path, RateLimited("why", "streams", seconds))) == headers
