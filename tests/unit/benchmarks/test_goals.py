from __future__ import annotations

import pytest

from benchmarks.goals import Goal


@pytest.mark.parametrize(
    ("bound", "value", "met"),
    [
        ("at most", 1.0, True),
        ("at most", 1.1, False),
        ("at least", 1.0, True),
        ("at least", 0.9, False),
        ("below", 1.0, False),
        ("below", 0.9, True),
        ("above", 1.0, False),
        ("above", 1.1, True),
        ("at most", None, None),
    ],
)
def test_a_goal_is_met_missed_or_not_measured(bound: str, value: float | None, met: bool | None) -> None:
    goal = Goal("cost", value, bound, 1.0)  # type: ignore[arg-type]  # one of its literals
    assert goal.met is met
    words = {True: "met", False: "MISSED", None: "NOT MEASURED"}
    assert goal.line().strip().startswith(words[met])
