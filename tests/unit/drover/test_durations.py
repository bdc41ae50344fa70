"""Durations in settings: Go's, or whole seconds."""

from __future__ import annotations

import pytest

from drover.durations import FOREVER_NS, parse_duration_or_seconds
from drover.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("5m", 300_000_000_000),
        ("-1m", -60_000_000_000),
        ("0", 0),
        ("90", 90_000_000_000),
        ("+90", 90_000_000_000),
        ("-1", -1_000_000_000),
        ("9" * 30, FOREVER_NS),
        ("-" + "9" * 400, -FOREVER_NS),
    ],
)
def test_a_duration_or_a_number_of_seconds(text: str, nanoseconds: int) -> None:
    assert parse_duration_or_seconds(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "1.5", "soon", "5 m", "٣"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="time:"):
        parse_duration_or_seconds(text)
