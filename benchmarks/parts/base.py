"""Interface of a measurement of `make bench`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.goals import Goal, lines


@dataclass(frozen=True, slots=True)
class Effort:
    """`seconds`: length of a window; `rounds`: number of windows; `folder`: for temporary files."""

    seconds: float
    rounds: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Part:
    """`raw`: everything that was measured, for the results' file."""

    name: str
    table: str
    goals: Sequence[Goal]
    raw: Mapping[str, object] = field(repr=False)

    def report(self) -> str:
        return f"\n{self.table}\n{lines(self.goals)}"
