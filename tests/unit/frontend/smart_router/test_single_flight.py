"""One judge call for identical questions at the same time, as long as one of them waits."""

from __future__ import annotations

import asyncio

import pytest

from frontend.models.virtual_definition import COMPLEX, SIMPLE, virtual_models
from frontend.smart_router.question import Question
from frontend.smart_router.route_decision import Reason, RouteDecision
from frontend.smart_router.single_flight import SingleFlight

_AUTO, _CAREFUL = virtual_models(
    '{"auto": {"simple": "a", "complex": "b"},'
    ' "careful": {"simple": "a", "complex": "b", "default": "complex"}}'
).values()
_HELLO = Question("hello", "", 5)
_BOTH = (SIMPLE, COMPLEX)
_SIMPLE = RouteDecision(SIMPLE, Reason.JUDGE)


class _Judge:
    """Says SIMPLE when it may."""

    def __init__(self) -> None:
        self.asked = self.cancelled = 0
        self.may_say = asyncio.Event()

    async def __call__(self) -> RouteDecision:
        self.asked += 1
        try:
            await self.may_say.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return _SIMPLE


async def _turns() -> None:
    """Tasks that can run have run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_identical_questions_share_one_call() -> None:
    judge, flight = _Judge(), SingleFlight()
    waiting = [asyncio.create_task(flight.decision((_AUTO, _HELLO, _BOTH), judge)) for _ in range(8)]
    await _turns()
    assert (judge.asked, len(flight)) == (1, 1)
    judge.may_say.set()
    assert await asyncio.gather(*waiting) == [_SIMPLE] * 8
    assert len(flight) == 0


async def test_another_question_or_virtual_model_is_another_call() -> None:
    judge, flight = _Judge(), SingleFlight()
    asked = ((_AUTO, _HELLO, _BOTH), (_AUTO, Question("hello?", "", 6), _BOTH), (_CAREFUL, _HELLO, _BOTH))
    waiting = [asyncio.create_task(flight.decision(each, judge)) for each in asked]
    await _turns()
    assert judge.asked == 3
    judge.may_say.set()
    await asyncio.gather(*waiting)


async def test_the_first_waiter_leaves_and_the_others_get_the_decision() -> None:
    judge, flight = _Judge(), SingleFlight()
    first, second = (asyncio.create_task(flight.decision((_AUTO, _HELLO, _BOTH), judge)) for _ in range(2))
    await _turns()
    first.cancel()
    await _turns()
    judge.may_say.set()
    assert await second == _SIMPLE
    assert (judge.asked, judge.cancelled) == (1, 0)


async def test_a_call_without_waiters_is_cancelled() -> None:
    judge, flight = _Judge(), SingleFlight()
    waiting = [asyncio.create_task(flight.decision((_AUTO, _HELLO, _BOTH), judge)) for _ in range(2)]
    await _turns()
    for each in waiting:
        each.cancel()
    await _turns()
    assert (judge.cancelled, len(flight)) == (1, 0)
    judge.may_say.set()
    assert await flight.decision((_AUTO, _HELLO, _BOTH), judge) == _SIMPLE
    assert judge.asked == 2


async def test_a_failure_is_raised_in_every_waiter() -> None:
    async def broken() -> RouteDecision:
        raise LookupError("broken")

    flight = SingleFlight()
    waiting = [flight.decision((_AUTO, _HELLO, _BOTH), broken) for _ in range(2)]
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, LookupError)
    assert len(flight) == 0
    with pytest.raises(LookupError):
        await flight.decision((_AUTO, _HELLO, _BOTH), broken)
