"""Scheduling headers: priority and deadline."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from drover.errors import InvalidRequest
from frontend.routing.scheduling_headers import DEADLINE, PRIORITY, SchedulingHeaders


def _read(priority: str = "", deadline: str = "", max_priority: int = 0) -> SchedulingHeaders:
    headers = {PRIORITY: priority, DEADLINE: deadline}
    return SchedulingHeaders.read(
        Headers({name: value for name, value in headers.items() if value}), max_priority
    )


def test_without_headers_priority_is_0_and_there_is_no_deadline() -> None:
    assert _read() == SchedulingHeaders(0, None)


@pytest.mark.parametrize(
    ("asked", "max_priority", "given_"),
    [("5", 0, 0), ("5", 3, 3), ("5", 9, 5), ("+2", 9, 2), ("-7", 0, -7), ("-100000", 0, -100), (" 1 ", 9, 1)],
)
def test_the_priority_is_clamped_to_the_operators_limit(asked: str, max_priority: int, given_: int) -> None:
    assert _read(asked, max_priority=max_priority).priority == given_


@pytest.mark.parametrize("asked", ["high", "1.5", "--1", "1e3", "٣", "9999999"])
def test_an_invalid_priority_is_refused(asked: str) -> None:
    headers = Headers(raw=[(PRIORITY.lower().encode(), asked.encode())])
    with pytest.raises(InvalidRequest, match=PRIORITY):
        SchedulingHeaders.read(headers, 0)


@pytest.mark.parametrize("asked", ["0", "0.0", "-1", "soon", "inf", "nan", "1e3", "1,5"])
def test_an_invalid_deadline_is_refused(asked: str) -> None:
    with pytest.raises(InvalidRequest, match=DEADLINE):
        _read(deadline=asked)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.text(st.characters(max_codepoint=126)))
def test_any_text_gives_a_value_or_the_error(priority: str, deadline: str) -> None:
    try:
        parsed = SchedulingHeaders.read(Headers({PRIORITY: priority, DEADLINE: deadline}), 10)
    except InvalidRequest:
        return
    assert -100 <= parsed.priority <= 10
    assert parsed.deadline_seconds is None or 0 < parsed.deadline_seconds < math.inf
