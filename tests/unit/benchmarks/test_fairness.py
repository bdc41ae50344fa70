"""Goals of the benchmark of fairness."""

from __future__ import annotations

import pytest

from benchmarks.fairness import Phase, part_of


def _phase(name: str, p99_ms: float = 0.0, short_work: float = 0.0, heavy_work: float = 0.0) -> Phase:
    return Phase(name, 10.0, 100, p99_ms / 2, p99_ms, short_work, heavy_work, 0)


def _values(short_work: float, heavy_work: float) -> list[float | None]:
    alone = _phase("short alone", 100, short_work)
    together = _phase("together", 140, short_work, heavy_work)
    part = part_of([_phase("heavy alone", heavy_work=21_000), alone, together, alone], [0.1] * 100)
    return [goal.value for goal in part.goals]


def test_the_fair_share_is_what_short_chats_leave() -> None:
    assert _values(1_000, 15_000) == pytest.approx([1.4, 0.75])


def test_the_fair_share_is_never_less_than_an_equal_one() -> None:
    assert _values(20_900, 500) == pytest.approx([1.4, 0.5])
