"""The strict decoder of the CLI's tests refuses what Go's decoder refuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.clients.go_types import CHAT, LIST, PROCESSES, SHOW, GoDecodeError, decode


@pytest.mark.parametrize("value", ["1.0", "1e9", "1.5", '"1"', "true", "9223372036854775808"])
def test_durations_are_integers(value: str) -> None:
    with pytest.raises(GoDecodeError, match=r"answer\.total_duration"):
        decode(CHAT, b'{"total_duration":%b}' % value.encode())


@pytest.mark.parametrize(
    "value",
    [
        '"2026-11-23T01:46:36"',
        '"2026-11-23 01:46:36Z"',
        '"2026-11-23T01:46:36+00"',
        '"2026-13-23T01:46:36Z"',
        "1764000000",
        '""',
    ],
)
def test_times_have_a_date_a_time_and_a_zone(value: str) -> None:
    with pytest.raises(GoDecodeError, match=r"answer\.models\[0\]\.expires_at"):
        decode(PROCESSES, b'{"models":[{"expires_at":%b}]}' % value.encode())


def test_times_may_have_nanoseconds_and_an_offset() -> None:
    answer = decode(LIST, b'{"models":[{"modified_at":"2026-11-23T01:46:36.052848804+01:00"}]}')
    assert answer["models"][0]["modified_at"] == datetime(2026, 11, 23, 0, 46, 36, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b'{"models":{}}', b'{"models":[1]}', b'{"models":[{"size":1.0}]}']
)
def test_other_kinds_are_refused(text: bytes) -> None:
    with pytest.raises(GoDecodeError):
        decode(LIST, text)


def test_null_and_unknown_fields_are_skipped() -> None:
    assert decode(SHOW, b'{"license":null,"more":1.5}') == {"license": None, "more": 1.5}
