"""Single flight for the judge: identical questions at the same time share one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from frontend.models.virtual_definition import VirtualModel
from frontend.smart_router.question import Question
from frontend.smart_router.route_decision import RouteDecision

_Key = tuple[VirtualModel, Question, tuple[str, ...]]
"""The labels are those of the sides that can serve the request."""


@dataclass(eq=False, slots=True)
class _Call:
    task: asyncio.Task[RouteDecision]
    waiters: int = 0


class SingleFlight:
    """De-duplicates identical judge calls (`n` choices, many clients), and cancels one when its last waiter
    leaves.
    """

    def __init__(self) -> None:
        self._calls: dict[_Key, _Call] = {}

    def __len__(self) -> int:
        return len(self._calls)

    async def decision(
        self, key: _Key, judge: Callable[[], Coroutine[object, None, RouteDecision]]
    ) -> RouteDecision:
        """The judge's decision, of a call that is running for the same key, else of a new one."""
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(asyncio.create_task(judge(), name="ask the judge"))
        call.waiters += 1
        try:
            await asyncio.wait([call.task])
            return call.task.result()
        finally:
            call.waiters -= 1
            self._remove_if_over(key, call)

    def _remove_if_over(self, key: _Key, call: _Call) -> None:
        """A call that has ended, or that was left by all, must not be joined."""
        if call.task.done() or not call.waiters:
            call.task.cancel()
            if self._calls.get(key) is call:
                del self._calls[key]
