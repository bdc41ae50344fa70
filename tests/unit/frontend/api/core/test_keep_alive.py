"""`keep_alive`: numbers are seconds, texts are Go's durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.durations import FOREVER_NS, parse_go_duration
from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json, loads
from frontend.api.core.go_values import keep_alive_ns
from tests.fakes.transcripts import Exchange, on

_SECOND = 1_000_000_000


def _sent(exchange: Exchange) -> Json:
    body = loads(exchange.body)
    assert isinstance(body, dict)
    return body["keep_alive"]


_RECORDED = [exchange for exchange in on("/api/chat") if exchange.case.startswith("chat keep_alive")]


@pytest.mark.parametrize("exchange", [each for each in _RECORDED if each.status == 400], ids=str)
def test_a_recorded_refusal(exchange: Exchange) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keep_alive_ns(_sent(exchange))

    assert refused.value.message == exchange.error()


@pytest.mark.parametrize("exchange", [each for each in _RECORDED if each.status == 200], ids=str)
def test_a_recorded_keep_alive_that_was_accepted(exchange: Exchange) -> None:
    assert keep_alive_ns(_sent(exchange)) >= 0


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [
        (0, 0),
        (0.0, 0),
        (5, 5 * _SECOND),
        (1.5, 1_500_000_000),
        (-1, FOREVER_NS),
        (-0.5, FOREVER_NS),
        (10**30, FOREVER_NS),
        (-(10**30), FOREVER_NS),
        (float("inf"), FOREVER_NS),
        ("0", 0),
        ("0s", 0),
        ("-0", 0),
        ("5m", 300 * _SECOND),
        ("5m0s", 300 * _SECOND),
        ("+5m", 300 * _SECOND),
        ("1h30m", 5400 * _SECOND),
        ("500ms", 500_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("1.s", _SECOND),
        ("1ns", 1),
        ("2us", 2_000),
        ("2µs", 2_000),
        ("2μs", 2_000),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("-1m", FOREVER_NS),
        ("-1ns", FOREVER_NS),
    ],
)
def test_keep_alive_in_nanoseconds(value: Json, nanoseconds: int) -> None:
    assert keep_alive_ns(value) == nanoseconds


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("abc", 'time: invalid duration "abc"'),
        (".", 'time: invalid duration "."'),
        (".s", 'time: invalid duration ".s"'),
        (" 5m", 'time: invalid duration " 5m"'),
        ("10", 'time: missing unit in duration "10"'),
        ("1h10", 'time: missing unit in duration "1h10"'),
        ("1.5", 'time: missing unit in duration "1.5"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        ("5 m", 'time: unknown unit " m" in duration "5 m"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("5m-3s", 'time: unknown unit "m-" in duration "5m-3s"'),
        ("9" * 30 + "h", f'time: invalid duration "{"9" * 30}h"'),
        ("9" * 400 + "h", f'time: invalid duration "{"9" * 400}h"'),
        ('"', r'time: invalid duration "\""'),
        (True, "Unsupported type: 'bool'"),
        (False, "Unsupported type: 'bool'"),
        ([1], "Unsupported type: '[]interface {}'"),
        ({"a": 1}, "Unsupported type: 'map[string]interface {}'"),
    ],
)
def test_invalid_durations_are_refused(value: Json, message: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        keep_alive_ns(value)

    assert refused.value.message == message


@given(st.text(alphabet="0123456789.hmsnuµ-+ x"))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        nanoseconds = parse_go_duration(text)
    except InvalidRequest:
        return
    assert -FOREVER_NS <= nanoseconds <= FOREVER_NS


@given(st.integers(0, 100_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations_that_go_prints_are_read(hours: int, minutes: int, seconds: int, ms: int) -> None:
    whole = (hours * 3600 + minutes * 60 + seconds) * _SECOND + ms * 1_000_000

    assert parse_go_duration(f"{hours}h{minutes}m{seconds}.{ms:03d}s") == pytest.approx(whole, abs=1_000)
