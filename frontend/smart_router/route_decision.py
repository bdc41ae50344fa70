"""Where a request goes and why: rules that need no judge, and a cache of the judge's decisions."""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, replace

from drover.digests import digest_of
from frontend.models.virtual_definition import VirtualModel
from frontend.smart_router.question import Question

_MAX_CACHED = 4_096


class Reason(enum.Enum):
    """Also the metrics' label `reason`."""

    FORCED = "forced"
    ABILITY = "ability"
    """No other side has a capability that the request needs."""
    AWAY = "away"
    """No worker serves another side."""
    IMAGES = "images"
    TOOLS = "tools"
    LENGTH = "length"
    JUDGE = "judge"
    KEPT = "judge (kept)"
    JUDGE_LATE = "judge late"
    JUDGE_FAILED = "judge failed"
    JUDGE_UNCLEAR = "judge unclear"
    """The judge gave no label, or the labels too little probability."""
    JUDGE_UNSURE = "judge unsure"
    """No label reached the threshold."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge's scores say. `probability`: that of the likeliest side; `label_mass`: the share of all
    possible next tokens that the labels have together.
    """

    probability: float
    label_mass: float


@dataclass(frozen=True, slots=True)
class RouteDecision:
    """`side`: a label. `verdict`: None where no judge scored the sides."""

    side: str
    reason: Reason
    verdict: Verdict | None = None

    @property
    def is_final(self) -> bool:
        """True if there is no fallback: a client that names a side may want no other to get the request."""
        return self.reason is Reason.FORCED

    @property
    def is_judged(self) -> bool:
        """True if the judge would decide the same again, so that the decision can be cached."""
        return self.reason in (Reason.JUDGE, Reason.JUDGE_UNSURE)


def decide_by_rule(question: Question, definition: VirtualModel) -> RouteDecision | None:
    """The decision of the first rule that applies."""
    is_long = 0 < definition.long_characters <= question.characters
    rules = (
        (question.has_images, definition.images, Reason.IMAGES),
        (question.has_tools, definition.tools, Reason.TOOLS),
        (is_long, definition.long, Reason.LENGTH),
    )
    return next(
        (RouteDecision(side, reason) for applies, side, reason in rules if applies and side is not None), None
    )


class DecisionCache:
    """The judge's latest `size` decisions, so that a retry, or the same question of many, is judged once."""

    def __init__(self, size: int = _MAX_CACHED) -> None:
        self._size = size
        self._decisions: OrderedDict[bytes, RouteDecision] = OrderedDict()

    def __len__(self) -> int:
        return len(self._decisions)

    def find(
        self, definition: VirtualModel, question: Question, labels: tuple[str, ...]
    ) -> RouteDecision | None:
        key = _key(definition, question, labels)
        decision = self._decisions.get(key)
        if decision is None:
            return None
        self._decisions.move_to_end(key)
        return replace(decision, reason=Reason.KEPT) if decision.reason is Reason.JUDGE else decision

    def add(
        self, definition: VirtualModel, question: Question, labels: tuple[str, ...], decision: RouteDecision
    ) -> None:
        self._decisions[_key(definition, question, labels)] = decision
        while len(self._decisions) > self._size:
            self._decisions.popitem(last=False)


def _key(definition: VirtualModel, question: Question, labels: tuple[str, ...]) -> bytes:
    """The judge, everything that it is shown, and how its answer is read."""
    sides = [(side.label, side.description) for side in definition.sides if side.label in labels]
    reading = (definition.default, definition.threshold, definition.min_label_mass)
    return digest_of((definition.judge.key, repr((sides, reading)), question.earlier, question.last))
