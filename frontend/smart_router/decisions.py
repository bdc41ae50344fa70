"""Decisions: where a request goes and why, and the judge's, which are kept for a while."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from frontend.models.virtual_definition import Side, VirtualModel
from frontend.smart_router.question import Question

_MOST_KEPT = 4_096


class Reason(enum.Enum):
    """Also the label of metrics."""

    FORCED = "forced"
    ABILITY = "ability"
    """The other side cannot do what is asked."""
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
    """`is_final`: what fails is not tried on the other side."""

    side: Side
    reason: Reason

    @property
    def is_final(self) -> bool:
        """Whoever names a side may have a reason that another one must not see the request."""
        return self.reason is Reason.FORCED


class Decisions:
    """The latest `most` of the judge's: a retry, or the same question of many, is judged once."""

    def __init__(self, most: int = _MOST_KEPT) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Side] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, definition: VirtualModel, question: Question) -> Side | None:
        key = _key(definition, question)
        side = self._kept.get(key)
        if side is not None:
            self._kept.move_to_end(key)
        return side

    def keep(self, definition: VirtualModel, question: Question, side: Side) -> None:
        self._kept[_key(definition, question)] = side
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)


def _key(definition: VirtualModel, question: Question) -> bytes:
    """Of what the judge sees, and of who judges."""
    key = blake2b(digest_size=16)
    for part in (definition.judge.key, question.earlier, question.last):
        data = part.encode(errors="replace")
        key.update(b"%d:" % len(data))
        key.update(data)
    return key.digest()
