"""Answers that are read whole: their tokens travel in groups, and nothing else waits."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from tests.unit.engine_worker.exchange_harness import Pair, name_of, running_exchange, submission


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with running_exchange(slots=64) as pair:
        yield pair


async def _submit(pair: Pair, number: int, whole: bool) -> None:
    ordered = submission(number)
    ordered.request.whole = whole
    await pair.frontend.orders(pb.Orders(submissions=[ordered]))
    await pair.runs(number)


async def _say(pair: Pair, number: int, count: int) -> None:
    """A token at a time, each in a step of its own: `other` shows that the step has gone."""
    for _ in range(count):
        pair.say(number, "x")
        other = len(pair.frontend.rows[2]) + 1
        pair.say(2, "y")
        await pair.frontend.grant(2, 1)
        await pair.frontend.has_rows(2, other)


async def test_tokens_after_the_first_ones_travel_in_groups(pair: Pair) -> None:
    await _submit(pair, 1, whole=True)
    await _submit(pair, 2, whole=False)
    await _say(pair, 1, 100)
    pair.end(1)
    await pair.frontend.has_end(1)
    assert pair.frontend.text(1) == 100 * "x"
    assert len(pair.frontend.rows[1]) < 10
    assert len(pair.frontend.rows[2]) == 100


async def test_the_first_tokens_leave_at_once(pair: Pair) -> None:
    await _submit(pair, 1, whole=True)
    pair.say(1, "first")
    await pair.frontend.has_rows(1)
    assert pair.frontend.text(1) == "first"


async def test_an_error_brings_what_was_said_before_it(pair: Pair) -> None:
    await _submit(pair, 1, whole=True)
    await _submit(pair, 2, whole=False)
    await _say(pair, 1, 20)
    pair.engine.mailboxes[name_of(1)].fail(EngineFailed("broken"))
    await pair.frontend.has_end(1)
    assert pair.frontend.text(1) == 20 * "x"
    assert pair.frontend.reason(1) == "EngineFailed"
