"""Goals of the benchmark, and whether they are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """`value`: None if it could not be measured; `note` then has the reason."""

    name: str
    value: float | None
    bound: Literal["at most", "at least", "below", "above"]
    limit: float
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        match self.bound:
            case "at most":
                return self.value <= self.limit
            case "at least":
                return self.value >= self.limit
            case "below":
                return self.value < self.limit
            case "above":
                return self.value > self.limit

    def line(self) -> str:
        limit = f"{self.bound} {_number(self.limit)}{self.unit}"
        note = f" ({self.note})" if self.note else ""
        if self.value is None:
            return f"  NOT MEASURED  {self.name}: {limit}{note}"
        verdict = "met   " if self.met else "MISSED"
        return f"  {verdict}  {self.name}: {_number(self.value)}{self.unit}, {limit}{note}"

    def raw(self) -> Mapping[str, object]:
        return {
            "name": self.name,
            "value": self.value,
            "bound": self.bound,
            "limit": self.limit,
            "unit": self.unit.strip(),
            "met": self.met,
            "note": self.note,
        }


def lines(goals: Sequence[Goal]) -> str:
    return "\n".join(goal.line() for goal in goals)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
