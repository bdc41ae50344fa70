"""How durations are written in OpenAI's headers."""

from __future__ import annotations

import pytest

from frontend.middleware.limit_headers import duration


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
