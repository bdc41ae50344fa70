"""Judgements that are being made: who asks the same meanwhile (`n` choices, many clients) waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from frontend.models.virtual_definition import VirtualModel
from frontend.smart_router.decisions import Decision
from frontend.smart_router.question import Question

Asked = tuple[VirtualModel, Question]


@dataclass(eq=False, slots=True)
class _Judgement:
    task: asyncio.Task[Decision]
    waiting: int = 0


class SingleFlight:
    """As many as requests wait for at most. One that nobody waits for any more is cancelled."""

    def __init__(self) -> None:
        self._of: dict[Asked, _Judgement] = {}

    def __len__(self) -> int:
        return len(self._of)

    async def decision(
        self, asked: Asked, judge: Callable[[], Coroutine[object, None, Decision]]
    ) -> Decision:
        judgement = self._of.get(asked)
        if judgement is None:
            judgement = self._of[asked] = _Judgement(asyncio.create_task(judge(), name="ask the judge"))
        judgement.waiting += 1
        try:
            await asyncio.wait([judgement.task])
            return judgement.task.result()
        finally:
            judgement.waiting -= 1
            self._look(asked, judgement)

    def _look(self, asked: Asked, judgement: _Judgement) -> None:
        """One that is over or left must not be joined."""
        if judgement.task.done() or not judgement.waiting:
            judgement.task.cancel()
            if self._of.get(asked) is judgement:
                del self._of[asked]
