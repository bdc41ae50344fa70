"""Loads and evictions: the rules one by one, and what follows from them over a long run."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from engine_worker.host.plan import (
    Action,
    Demand,
    Drain,
    Gpu,
    Load,
    Refuse,
    Resident,
    State,
    next_eviction,
    plan,
)

MIN_RESIDENCY_SECONDS = 10.0
NOW = 1000.0


def planned(budget: int, residents: Sequence[Resident], demands: Iterable[Demand]) -> list[Action]:
    return plan(NOW, budget, MIN_RESIDENCY_SECONDS, residents, demands)


def due(residents: Sequence[Resident], demands: Sequence[Demand] = ()) -> float | None:
    return next_eviction(NOW, 10, MIN_RESIDENCY_SECONDS, residents, demands)


def ready(model: str, size: int, *, gpus: tuple[str, ...] = (), **fields: float) -> Resident:
    """Long resident, unless `fields` say otherwise."""
    return replace(Resident(model, State.READY, size, gpus=gpus), **fields)  # type: ignore[arg-type] # of one type each


def test_a_model_that_fits_is_loaded() -> None:
    assert planned(10, [], [Demand("a", 10, NOW)]) == [Load("a")]


def test_models_that_fit_together_are_loaded_together() -> None:
    assert planned(10, [], [Demand("a", 4, NOW), Demand("b", 6, NOW)]) == [Load("a"), Load("b")]


@pytest.mark.parametrize("state", [State.LOADING, State.READY])
def test_a_resident_model_needs_nothing(state: State) -> None:
    assert planned(10, [Resident("a", state, 5)], [Demand("a", 5, NOW)]) == []


def test_a_model_larger_than_the_budget_is_refused_with_both_numbers() -> None:
    assert planned(10, [], [Demand("a", 11, NOW)]) == [Refuse("a", 11, 10)]


def test_pinned_models_count_against_the_budget() -> None:
    residents = [ready("a", 4, is_pinned=True)]
    assert planned(10, residents, [Demand("b", 7, NOW)]) == [Refuse("b", 7, 6)]


def test_the_least_recently_used_idle_model_goes_first() -> None:
    residents = [ready("a", 5, last_used=900), ready("b", 5, last_used=800)]
    assert planned(10, residents, [Demand("c", 5, NOW)]) == [Drain("b", is_busy=False)]


def test_a_second_replica_goes_before_other_idle_models() -> None:
    residents = [ready("a", 5, last_used=800), ready("b", 5, last_used=900, is_extra=True)]
    assert planned(10, residents, [Demand("c", 5, NOW)]) == [Drain("b", is_busy=False)]


def test_a_busy_model_goes_only_if_idle_ones_are_not_enough() -> None:
    residents = [ready("a", 5, requests=1, since=100), ready("b", 5, last_used=999)]
    assert planned(10, residents, [Demand("c", 5, NOW)]) == [Drain("b", is_busy=False)]
    assert planned(10, residents, [Demand("c", 6, NOW)]) == [
        Drain("b", is_busy=False),
        Drain("a", is_busy=True),
    ]


def test_of_busy_models_the_longest_resident_goes() -> None:
    residents = [ready("a", 5, requests=9, since=200), ready("b", 5, requests=1, since=300)]
    assert planned(10, residents, [Demand("c", 5, NOW)]) == [Drain("a", is_busy=True)]


def test_nothing_is_evicted_before_its_residency() -> None:
    residents = [ready("a", 10, since=NOW - 9)]
    assert planned(10, residents, [Demand("b", 5, 0)]) == []
    assert due(residents) == NOW + 1
    assert next_eviction(NOW + 1, 10, MIN_RESIDENCY_SECONDS, residents, ()) is None


def test_a_busy_model_stays_until_its_load_was_worth_it() -> None:
    residents = [ready("a", 10, since=NOW - 15, requests=1, worth_seconds=20.0)]
    waiting = [Demand("b", 5, 0)]
    assert planned(10, residents, waiting) == []
    assert due(residents) == NOW + 5
    assert planned(10, [replace(residents[0], requests=0)], waiting) == [Drain("a", is_busy=False)]
    assert planned(10, [replace(residents[0], since=NOW - 20)], waiting) == [Drain("a", is_busy=True)]


def test_the_more_models_wait_the_shorter_a_busy_one_stays() -> None:
    busy = [ready("a", 10, since=NOW - 15, requests=1, worth_seconds=1e6)]
    waiting = [Demand(model, 5, 0) for model in "bcd"]
    assert due(busy, waiting[:1]) == NOW + 45
    assert due(busy, waiting) == NOW + 5
    assert planned(10, busy, waiting) == []
    assert planned(10, busy, [*waiting, Demand("e", 5, 0)]) == [Drain("a", is_busy=True)]
    # For which nothing is evicted: a second replica, one that never fits, one that is in memory.
    others = [Demand("e", 5, 0, is_extra=True), Demand("f", 11, 0), Demand("a", 10, 0)]
    assert due(busy, [*waiting, *others]) == NOW + 5


def test_a_load_that_no_request_waits_for_makes_room_first() -> None:
    idle = ready("a", 5, last_used=100)
    loading = Resident("b", State.LOADING, 5, last_used=NOW - 10)
    waiting = [Demand("c", 5, 0)]
    assert planned(10, [idle, loading], waiting) == [Drain("b", is_busy=False)]
    assert planned(10, [idle, loading], [*waiting, Demand("b", 5, 1)]) == [Drain("a", is_busy=False)]


def test_a_load_continues_while_a_frontend_may_be_reached_anew() -> None:
    loading = [Resident("b", State.LOADING, 10, last_used=NOW - 9)]
    assert planned(10, loading, [Demand("c", 5, 0)]) == []
    assert due(loading) == NOW + 1
    assert due(loading, [Demand("b", 10, 0)]) is None


def test_the_longest_waiting_gets_the_memory() -> None:
    """A smaller model that came later would fit, and must not take what the first one waits for."""
    residents = [ready("a", 6, since=NOW - 1)]
    demands = [Demand("large", 10, 1), Demand("small", 4, 2)]
    assert planned(10, residents, demands) == []


def test_memory_that_drains_is_promised_once() -> None:
    residents = [Resident("a", State.DRAINING, 5), ready("b", 5)]
    demands = [Demand("c", 5, 1), Demand("d", 5, 2)]
    assert planned(10, residents, demands) == [Drain("b", is_busy=False)]


def test_what_a_victim_has_too_much_of_serves_the_next() -> None:
    residents = [ready("a", 10)]
    demands = [Demand("b", 4, 1), Demand("c", 6, 2)]
    assert planned(10, residents, demands) == [Drain("a", is_busy=False)]


def test_a_draining_model_waits_for_its_turn_again() -> None:
    residents = [Resident("a", State.DRAINING, 5)]
    assert planned(10, residents, [Demand("a", 5, 1)]) == []


def test_a_second_replica_takes_only_free_memory_and_comes_last() -> None:
    residents = [ready("a", 5)]
    extra = Demand("b", 6, 1, is_extra=True)
    assert planned(10, residents, [extra]) == []
    assert planned(11, residents, [extra]) == [Load("b")]
    assert planned(11, residents, [extra, Demand("c", 6, 2)]) == [Load("c")]


def test_over_budget_nothing_is_loaded() -> None:
    """Models may turn out larger than was estimated."""
    residents = [ready("a", 12)]
    assert planned(10, residents, [Demand("b", 1, 1)]) == [Drain("a", is_busy=False)]


GPUS = (Gpu("g1", 10), Gpu("g2", 20), Gpu("g3", 20))


def on_gpus(residents: Sequence[Resident], *demands: Demand, gpus: Sequence[Gpu] = GPUS) -> list[Action]:
    return plan(NOW, 100, MIN_RESIDENCY_SECONDS, residents, demands, gpus)


def gpu_demand(model: str, gpu_bytes: int, gpus: int = 1, **fields: float) -> Demand:
    return Demand(model, 1, fields.get("since", 1.0), gpus=gpus, gpu_bytes=gpu_bytes)


@pytest.mark.parametrize(
    ("gpu_bytes", "count", "chosen"),
    [
        # The one with the least room that fits, so that large models find room.
        (10, 1, ("g1",)),
        (11, 1, ("g2",)),
        (11, 2, ("g2", "g3")),
        (10, 3, ("g1", "g2", "g3")),
    ],
)
def test_a_model_gets_the_gpus_with_the_least_room(
    gpu_bytes: int, count: int, chosen: tuple[str, ...]
) -> None:
    assert on_gpus([], gpu_demand("a", gpu_bytes, count)) == [Load("a", chosen)]


def test_a_model_without_a_gpu_gets_none() -> None:
    assert on_gpus([], Demand("a", 100, 1.0)) == [Load("a")]


@pytest.mark.parametrize(("gpu_bytes", "count", "available"), [(21, 1, 20), (11, 3, 10), (1, 4, 0)])
def test_a_model_larger_than_the_gpus_is_refused(gpu_bytes: int, count: int, available: int) -> None:
    """Two that are free do not make one that is large enough."""
    assert on_gpus([], gpu_demand("a", gpu_bytes, count)) == [Refuse("a", gpu_bytes, available, count)]


def test_the_machines_memory_counts_as_well() -> None:
    assert on_gpus([], Demand("a", 101, 1.0, gpus=1, gpu_bytes=1)) == [Refuse("a", 101, 100)]
    residents = [ready("b", 100, last_used=900)]
    assert on_gpus(residents, gpu_demand("a", 5)) == [Drain("b", is_busy=False)]


def test_a_gpu_is_cleared_where_no_model_is_busy() -> None:
    residents = [
        ready("b", 1, gpus=("g2",), gpu_bytes=20, requests=1, last_used=800),
        ready("c", 1, gpus=("g3",), gpu_bytes=20, last_used=900),
    ]
    assert on_gpus(residents, gpu_demand("a", 15)) == [Drain("c", is_busy=False)]


def test_models_on_other_gpus_stay() -> None:
    """The least recently used one is on a GPU that is of no use."""
    residents = [
        ready("b", 1, gpus=("g1",), gpu_bytes=10, last_used=100),
        ready("c", 1, gpus=("g2", "g3"), gpu_bytes=20, last_used=900),
    ]
    assert on_gpus(residents, gpu_demand("a", 15, 2)) == [Drain("c", is_busy=False)]


def test_a_gpu_loads_one_model_at_a_time() -> None:
    only = GPUS[1:2]
    loading = Resident("b", State.LOADING, 1, gpus=("g2",), gpu_bytes=5)
    assert on_gpus([loading], gpu_demand("a", 5), gpus=only) == []
    assert on_gpus([], gpu_demand("a", 5), gpu_demand("b", 5, since=2.0), gpus=only) == [Load("a", ("g2",))]
    assert on_gpus([loading], gpu_demand("a", 5)) == [Load("a", ("g1",))]


def test_a_part_of_a_gpu_serves_a_model_alone() -> None:
    parts = (Gpu("m1", 10, is_part=True), Gpu("m2", 10, is_part=True))
    assert on_gpus([], gpu_demand("a", 10), gpus=parts) == [Load("a", ("m1",))]
    assert on_gpus([], gpu_demand("a", 5, 2), gpus=parts) == [Refuse("a", 5, 0, 2)]


def test_memory_that_others_took_makes_no_room() -> None:
    """A budget may shrink below what models have: another program came."""
    residents = [ready("b", 1, gpus=("g1",), gpu_bytes=10)]
    assert on_gpus(residents, gpu_demand("a", 5), gpus=[Gpu("g1", 6)]) == [Drain("b", is_busy=False)]


@dataclass
class Machine:
    """A host in simulated time: loads take `load_seconds`, a request `run_seconds`, `slots` at a time.

    `stays`: of each model that was evicted, when it became ready and was evicted, and whether it had served.
    """

    budget: int
    sizes: dict[str, int]
    load_seconds: float = 2.0
    run_seconds: float = 1.0
    slots: int = 4
    now: float = 0.0
    residents: dict[str, Resident] = field(default_factory=dict)
    queues: dict[str, list[float]] = field(default_factory=dict)
    running: dict[str, list[float]] = field(default_factory=dict)
    loads: int = 0
    waits: list[float] = field(default_factory=list)
    stays: list[tuple[str, float, float, bool]] = field(default_factory=list)
    worth_seconds: float = 0.0
    """For which a busy model stays at least."""
    _served: set[str] = field(default_factory=set)
    _events: list[float] = field(default_factory=list)

    def run(self, arrivals: Sequence[tuple[float, str]]) -> None:
        pending = list(arrivals)[::-1]
        self._events = [at for at, _ in arrivals]
        heapq.heapify(self._events)
        while self._events:
            self.now = heapq.heappop(self._events)
            while pending and pending[-1][0] <= self.now:
                at, model = pending.pop()
                self.queues.setdefault(model, []).append(at)
            self._end_what_is_due()
            self._admit()
            self._act()

    def _end_what_is_due(self) -> None:
        for model, ends in self.running.items():
            ends[:] = [end for end in ends if end > self.now]
            if model in self.residents:
                last_used = self.residents[model].last_used
                self._set(model, requests=len(ends), last_used=self.now if ends else last_used)
        for model, each in list(self.residents.items()):
            if each.state is State.LOADING and each.since <= self.now:
                self._set(model, state=State.READY)
            if each.state is State.DRAINING and not self.running.get(model):
                del self.residents[model]

    def _admit(self) -> None:
        for model, each in self.residents.items():
            queue, ends = self.queues.get(model, []), self.running.setdefault(model, [])
            while each.state is State.READY and queue and len(ends) < self.slots:
                self.waits.append(self.now - queue.pop(0))
                ends.append(self.now + self.run_seconds)
                self._served.add(model)
                heapq.heappush(self._events, ends[-1])
            self._set(model, requests=len(ends), last_used=self.now if ends else each.last_used)

    def _act(self) -> None:
        demands = [
            Demand(model, self.sizes[model], queue[0]) for model, queue in self.queues.items() if queue
        ]
        residents = list(self.residents.values())
        for action in plan(self.now, self.budget, MIN_RESIDENCY_SECONDS, residents, demands):
            match action:
                case Load(model):
                    self.loads += 1
                    self._served.discard(model)
                    until = self.now + self.load_seconds
                    self.residents[model] = Resident(
                        model,
                        State.LOADING,
                        self.sizes[model],
                        since=until,
                        last_used=self.now,
                        worth_seconds=self.worth_seconds,
                    )
                    heapq.heappush(self._events, until)
                case Drain(model):
                    stayed = self.residents[model]
                    self.stays.append((model, stayed.since, self.now, model in self._served))
                    self._set(model, state=State.DRAINING)
                    heapq.heappush(self._events, self.now)
        assert sum(each.size_bytes for each in self.residents.values()) <= self.budget
        due = next_eviction(self.now, self.budget, MIN_RESIDENCY_SECONDS, residents, demands)
        if demands and due is not None:
            heapq.heappush(self._events, due)

    def _set(self, model: str, **fields: object) -> None:
        self.residents[model] = replace(self.residents[model], **fields)  # type: ignore[arg-type] # as given


def test_every_request_is_served_and_memory_is_never_exceeded() -> None:
    """Six models of which two fit, and always more requests than places: the case in which evictions could
    wait for each other, or evict one another for ever.
    """
    seeded = random.Random(1)
    names = list("abcdef")
    weights = [1 / (rank + 1) for rank in range(len(names))]
    arrivals, at = [], 0.0
    for _ in range(2000):
        at += seeded.expovariate(4.0)
        arrivals.append((at, seeded.choices(names, weights)[0]))
    machine = Machine(budget=10, sizes=dict.fromkeys(names, 5))
    machine.run(arrivals)
    assert len(machine.waits) == len(arrivals)
    # Each swap serves what has gathered: far fewer loads than requests.
    assert machine.loads < len(arrivals) / 10
    # Three turns of others, each a residency, a drain and a load, and what waits before it for its own model.
    turn = MIN_RESIDENCY_SECONDS + machine.run_seconds + machine.load_seconds
    assert max(machine.waits) < 4 * turn
