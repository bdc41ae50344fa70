"""Times as Go formats them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from frontend.api.core.go_values import Clock, never, rfc3339

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")


@pytest.mark.parametrize(
    ("unix_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (1_795_398_396_052_848_804, "2026-11-23T01:46:36.052848804Z"),
        (1_795_398_396_052_848_800, "2026-11-23T01:46:36.0528488Z"),
        (1_795_398_390_000_000_000, "2026-11-23T01:46:30Z"),
    ],
)
def test_trailing_zeros_of_a_fraction_are_omitted(
    unix_ns: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rfc3339(unix_ns) == text

    monkeypatch.setattr(time, "time_ns", lambda: unix_ns)
    assert Clock().now() == text.encode()


def test_the_clock_follows_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    times = iter([999_500_000, 1_000_000_000, 61_000_000_001])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))

    assert [clock.now() for _ in range(3)] == [
        b"1970-01-01T00:00:00.9995Z",
        b"1970-01-01T00:00:01Z",
        b"1970-01-01T00:01:01.000000001Z",
    ]


def test_lines_of_one_step_share_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    times = iter([5_000_000, 5_199_999, 5_200_000, 4_000_000])
    monkeypatch.setattr(time, "time_ns", lambda: next(times))

    assert [clock.now() for _ in range(4)] == [
        b"1970-01-01T00:00:00.005Z",
        b"1970-01-01T00:00:00.005Z",
        b"1970-01-01T00:00:00.0052Z",
        b"1970-01-01T00:00:00.004Z",
    ]


def test_the_clock_is_current() -> None:
    shown = Clock().now().decode()

    assert _RFC3339.fullmatch(shown)
    then = datetime.fromisoformat(shown[:19]).replace(tzinfo=UTC)
    assert abs(then.timestamp() - time.time()) < 5


def test_never_is_three_centuries_ahead() -> None:
    assert _RFC3339.fullmatch(never())
    assert int(never()[:4]) - datetime.now(tz=UTC).year in (292, 293)
