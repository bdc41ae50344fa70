"""The plan over thousands of random histories: it never exceeds the budget, never blocks, never evicts too
early, and lets none wait longer than the turns before it explain.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.engine_worker.host.test_plan import MIN_RESIDENCY_SECONDS, Machine

_NAMES = "abcdefgh"
_BUDGET = 12


@dataclass(frozen=True)
class History:
    sizes: dict[str, int]
    arrivals: Sequence[tuple[float, str]] = field(repr=False)
    load_seconds: float = 2.0
    run_seconds: float = 1.0
    slots: int = 4
    worth_loads: float = 0.0

    @property
    def worth_seconds(self) -> float:
        return self.worth_loads * self.load_seconds


@st.composite
def histories(draw: st.DrawFn) -> History:
    names = _NAMES[: draw(st.integers(2, len(_NAMES)))]
    sizes = {name: draw(st.integers(1, _BUDGET)) for name in names}
    gaps = draw(st.lists(st.sampled_from([0.0, 0.01, 0.3, 3.0, 30.0]), min_size=1, max_size=150))
    # The first names more often.
    chosen = draw(st.lists(st.sampled_from(names + names[:2] * 3), min_size=len(gaps), max_size=len(gaps)))
    at, arrivals = 0.0, []
    for gap, name in zip(gaps, chosen, strict=True):
        at += gap
        arrivals.append((at, name))
    return History(
        sizes,
        arrivals,
        draw(st.sampled_from([0.1, 2.0, 25.0])),
        draw(st.sampled_from([0.05, 1.0, 8.0])),
        draw(st.sampled_from([1, 4, 64])),
        draw(st.sampled_from([0.0, 8.0])),
    )


def played(history: History) -> Machine:
    """Within it is asserted that the memory of what is loaded never exceeds the budget."""
    machine = Machine(_BUDGET, history.sizes, history.load_seconds, history.run_seconds, history.slots)
    machine.worth_seconds = history.worth_seconds
    machine.run(history.arrivals)
    return machine


_CROWD = History(dict.fromkeys("abcdef", 6), [(number * 0.01, "abcdef"[number % 6]) for number in range(600)])
# One that could wait for ever while others come.
_STEADY = History(
    dict.fromkeys("abcdef", 6), [(number * 0.7, "abcdefab"[number % 8]) for number in range(400)], slots=64
)
_LARGE_AMONG_SMALL = History(
    {"a": 12, "b": 4, "c": 4, "d": 4, "e": 4},
    [(number * 0.7, "bcdea"[number % 5]) for number in range(400)],
    slots=64,
)


@settings(max_examples=100, deadline=None)
@given(histories())
@example(_CROWD)
@example(_STEADY)
@example(_LARGE_AMONG_SMALL)
def test_any_history_is_served_in_turns(history: History) -> None:
    machine = played(history)
    assert len(machine.waits) == len(history.arrivals)
    _assert_that_none_is_evicted_early(machine)
    assert max(machine.waits) <= _longest_wait(history)


def _assert_that_none_is_evicted_early(machine: Machine) -> None:
    """Nor before it has served, nor loaded where it is in memory."""
    for _, since, end, has_served in machine.stays:
        assert has_served
        assert end >= since + MIN_RESIDENCY_SECONDS
    for name in machine.sizes:
        stays = [(since, end) for model, since, end, _ in machine.stays if model == name]
        assert all(end <= since for (_, end), (since, _) in pairwise(stays))


def _longest_wait(history: History) -> float:
    """Once a model is waited for, each other one has at most one turn before it. It may need several turns of
    its own for all that gathered.
    """
    stay = max(MIN_RESIDENCY_SECONDS, min(history.worth_seconds, 60.0))
    turn = stay + history.run_seconds + history.load_seconds
    served_in_a_turn = history.slots * (MIN_RESIDENCY_SECONDS // history.run_seconds)
    gathered = max(Counter(name for _, name in history.arrivals).values())
    return math.ceil(gathered / served_in_a_turn) * len(history.sizes) * turn
