"""Where a request goes and why: rules that need no judge, and a cache of the judge's decisions."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass

from drover.digests import digest_of
from frontend.models.virtual_definition import Side, VirtualModel
from frontend.smart_router.question import Question

_MAX_CACHED = 4_096


class Reason(enum.Enum):
    """Also the metrics' label `reason`."""

    FORCED = "forced"
    ABILITY = "ability"
    """The other side lacks a capability that the request needs."""
    AWAY = "away"
    """No worker serves the other side."""
    IMAGES = "images"
    TOOLS = "tools"
    LENGTH = "length"
    JUDGE = "judge"
    KEPT = "judge (kept)"
    JUDGE_LATE = "judge late"
    JUDGE_FAILED = "judge failed"
    JUDGE_UNCLEAR = "judge unclear"


@dataclass(frozen=True, slots=True)
class Decision:
    side: Side
    reason: Reason

    @property
    def is_final(self) -> bool:
        """True if there is no fallback: who names a side may not want the other one to see the request."""
        return self.reason is Reason.FORCED


def decide_by_rule(question: Question, definition: VirtualModel) -> Decision | None:
    """The decision of the first rule that applies."""
    is_long = 0 < definition.long_characters <= question.characters
    rules = (
        (question.has_images, definition.images, Reason.IMAGES),
        (question.has_tools, definition.tools, Reason.TOOLS),
        (is_long, definition.long, Reason.LENGTH),
    )
    return next(
        (Decision(side, reason) for applies, side, reason in rules if applies and side is not None), None
    )


class DecisionCache:
    """The judge's latest `size` decisions, so that a retry, or the same question of many, is judged once."""

    def __init__(self, size: int = _MAX_CACHED) -> None:
        self._size = size
        self._sides: OrderedDict[bytes, Side] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sides)

    def find(self, definition: VirtualModel, question: Question) -> Side | None:
        key = _key(definition, question)
        side = self._sides.get(key)
        if side is not None:
            self._sides.move_to_end(key)
        return side

    def add(self, definition: VirtualModel, question: Question, side: Side) -> None:
        self._sides[_key(definition, question)] = side
        while len(self._sides) > self._size:
            self._sides.popitem(last=False)


def _key(definition: VirtualModel, question: Question) -> bytes:
    """The judge and everything that it is shown."""
    return digest_of((definition.judge.key, question.earlier, question.last))
