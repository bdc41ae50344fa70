"""Which models a host loads and evicts: a pure function of what is in memory and of who waits.

The rules, in this order:

1. The model whose request waits longest gets the next turn. Memory that it waits for is not given to others.
2. A model that fits is loaded at once.
3. Otherwise models are evicted: idle ones, second replicas first, then the least recently used; if that is
   not enough, busy ones, the longest resident first. A busy one takes no new requests and drains.
4. No model is evicted before it was in memory for `min_residency_seconds`, nor, within a bound, before it has
   served one of the requests that it was loaded for: else loads could follow one another and serve nothing. A
   busy one stays for its `worth_seconds`, which grow with its load: else hosts would mostly load. All that
   wait get a turn within about a minute, loads not counted: the more of them, the shorter it stays.
5. A second replica only takes memory that is free.
6. A model that needs GPUs gets them whole: of those with room for its part the ones with the least room, else
   those that are cheapest to clear. A GPU loads one model at a time, since engines size themselves by what is
   free when they start, and so that it can be measured what each takes.
7. A load that no request has waited for since a while goes before all others.

Since every decision is made here, by one function over one state, two evictions never wait for each other.
"""

from __future__ import annotations

import enum
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


class State(enum.Enum):
    """Of a resident model. DRAINING: it takes no new requests; its memory is free when the last one ends."""

    LOADING = enum.auto()
    READY = enum.auto()
    DRAINING = enum.auto()


@dataclass(frozen=True, slots=True)
class Resident:
    """A model in memory. Times are of time.monotonic.

    `size_bytes`: measured; the estimate while it loads. `requests`: running, or waiting in its worker.
    `since`: when it became READY. `last_used`: while it loads, when requests waited for it last.
    `has_served`: it had a request since. `is_pinned`: the operator keeps it. `is_extra`: a second replica.
    `gpus`: the ids of those that it has; `gpu_bytes`: of each. `worth_seconds`: how long it should stay
    while it has requests, so that its load was worth it.
    """

    model: str
    state: State
    size_bytes: int
    requests: int = 0
    since: float = 0.0
    last_used: float = 0.0
    has_served: bool = True
    is_pinned: bool = False
    is_extra: bool = False
    gpus: tuple[str, ...] = ()
    gpu_bytes: int = 0
    worth_seconds: float = 0.0

    @property
    def places(self) -> Mapping[str, int]:
        """Bytes by where they are."""
        return {_RAM: self.size_bytes, **dict.fromkeys(self.gpus, self.gpu_bytes)}


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests that wait for a model. `since`: when the longest waiting one came. `is_extra`: another host
    has the model already. `gpus`: how many it needs, with `gpu_bytes` of each.
    """

    model: str
    size_bytes: int
    since: float
    is_extra: bool = False
    gpus: int = 0
    gpu_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or a part of one (MIG), which a model cannot have together with others."""

    id: str
    budget_bytes: int
    is_part: bool = False


# The machine's memory, among the ids of GPUs.
_RAM = ""
# How long a model is kept that requests wait for and that has none yet: frontends have to connect first.
_FIRST_REQUEST_SECONDS = 10.0
# How long a load continues in any case that no request waits for: a frontend may only be reached anew.
_UNWANTED_SECONDS = 10.0
# How long busy models may stay for the sake of their loads, by which those that wait are delayed in turn.
_LONGEST_WORTH_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """Start a worker for the model, on these GPUs."""

    model: str
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the model's requests end, and then end its worker. `is_busy`: it has requests."""

    model: str
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Refuse:
    """The model never fits: it needs `size_bytes`, and `available_bytes` is all that there is for it. With
    `gpus`: of each of so many GPUs; `available_bytes` is 0 if there are not as many.
    """

    model: str
    size_bytes: int
    available_bytes: int
    gpus: int = 0


Action = Load | Drain | Refuse


def plan(
    now: float,
    budget_bytes: int,
    min_residency_seconds: float,
    residents: Sequence[Resident],
    demands: Iterable[Demand],
    gpus: Sequence[Gpu] = (),
) -> list[Action]:
    """The next actions. Call it again when one has ended, and when `next_eviction` says so."""
    wanted = list(demands)
    memory = _Memory(budget_bytes, gpus, residents)
    stay = _Stay(min_residency_seconds, wanted, memory)
    memory.allow(each for each in residents if now >= stay.end_of(each))
    actions: list[Action] = []
    for demand in sorted(wanted, key=lambda each: (each.is_extra, each.since)):
        actions += memory.serve(demand)
    return actions


def next_eviction(
    now: float,
    budget_bytes: int,
    min_residency_seconds: float,
    residents: Sequence[Resident],
    demands: Sequence[Demand],
    gpus: Sequence[Gpu] = (),
) -> float | None:
    """When another model may be evicted, of the same state as the plan; None if that needs no waiting."""
    stay = _Stay(min_residency_seconds, demands, _Memory(budget_bytes, gpus, residents))
    due = map(stay.end_of, residents)
    return min((at for at in due if now < at < math.inf), default=None)


def most_worth_seconds(waiting: int) -> float:
    """How long a model stays at most for the sake of its load while so many others wait."""
    return _LONGEST_WORTH_SECONDS / max(1, waiting)


class _Stay:
    """How long models stay at least."""

    def __init__(self, min_residency_seconds: float, demands: Sequence[Demand], memory: _Memory) -> None:
        self._min_seconds = min_residency_seconds
        self._awaited = {each.model for each in demands}
        waiting = sum(map(memory.must_make_room, demands))
        self._most_worth_seconds = most_worth_seconds(waiting)

    def end_of(self, resident: Resident) -> float:
        """When it may be evicted."""
        if resident.state is State.DRAINING or resident.is_pinned:
            return math.inf
        is_awaited = resident.model in self._awaited
        if resident.state is State.LOADING:
            return math.inf if is_awaited else resident.last_used + _UNWANTED_SECONDS
        seconds = self._min_seconds
        if is_awaited and not resident.has_served:
            seconds = max(seconds, _FIRST_REQUEST_SECONDS)
        if resident.requests:
            seconds = max(seconds, min(resident.worth_seconds, self._most_worth_seconds))
        return resident.since + seconds


class _Memory:
    """The host's memory while a plan is made, by where it is: the machine's, and each GPU's.

    `_free`: of no model, and not promised. `_leaving`: of draining models, and not promised yet.
    `_available`: of no pinned model.
    """

    def __init__(self, budget_bytes: int, gpus: Sequence[Gpu], residents: Sequence[Resident]) -> None:
        self._gpus = gpus
        budgets = {_RAM: budget_bytes, **{gpu.id: gpu.budget_bytes for gpu in gpus}}
        self._residents = {each.model: each for each in residents}
        self._free = _less(budgets, residents)
        self._available = _less(budgets, (each for each in residents if each.is_pinned))
        self._leaving = Counter[str]()
        self._loading = set[str]()
        for each in residents:
            if each.state is State.DRAINING:
                self._leaving.update(each.places)
            if each.state is State.LOADING:
                self._loading.update(each.gpus)
        self._evictable: list[Resident] = []

    def allow(self, evictable: Iterable[Resident]) -> None:
        """Let these be evicted."""
        self._evictable = sorted(evictable, key=_eviction_order)

    def must_make_room(self, demand: Demand) -> bool:
        """Whether others have to go for it, if it does not fit."""
        return not demand.is_extra and demand.model not in self._residents and self._refusal(demand) is None

    def serve(self, demand: Demand) -> list[Action]:
        resident = self._residents.get(demand.model)
        if resident is not None and resident.state is not State.DRAINING:
            return []
        if (refused := self._refusal(demand)) is not None:
            return [refused]
        if resident is None and (gpus := self._fitting(demand)) is not None:
            self._promise(_needs(demand, gpus))
            if not self._loading.isdisjoint(gpus):
                return []
            self._loading.update(gpus)
            return [Load(demand.model, gpus)]
        if demand.is_extra:
            return []
        return self._make_room(_needs(demand, self._cheapest(demand)))

    def _refusal(self, demand: Demand) -> Refuse | None:
        if demand.size_bytes > self._available[_RAM]:
            return Refuse(demand.model, demand.size_bytes, self._available[_RAM])
        most = sorted((self._available[each] for each in self._usable(demand)), reverse=True)
        enough = most[demand.gpus - 1] if 0 < demand.gpus <= len(most) else 0
        if demand.gpus and demand.gpu_bytes > enough:
            return Refuse(demand.model, demand.gpu_bytes, enough, demand.gpus)
        return None

    def _usable(self, demand: Demand) -> Sequence[str]:
        return [gpu.id for gpu in self._gpus if demand.gpus == 1 or not gpu.is_part]

    def _fitting(self, demand: Demand) -> tuple[str, ...] | None:
        """GPUs on which it fits without evicting others; None if there are none."""
        if demand.size_bytes > self._free[_RAM]:
            return None
        roomy = [each for each in self._usable(demand) if self._free[each] >= demand.gpu_bytes]
        roomy.sort(key=lambda each: (each in self._loading, self._free[each]))
        return tuple(roomy[: demand.gpus]) if len(roomy) >= demand.gpus else None

    def _cheapest(self, demand: Demand) -> tuple[str, ...]:
        """GPUs that are cleared with the fewest busy victims, and then the fewest."""

        def cost(gpu: str) -> tuple[int, int, int]:
            missing = demand.gpu_bytes - max(0, self._free[gpu]) - self._leaving[gpu]
            busy = victims = 0
            for each in self._evictable:
                if missing > 0 and gpu in each.gpus:
                    missing -= each.gpu_bytes
                    victims += 1
                    busy += each.requests > 0
            return max(0, missing), busy, victims

        able = [each for each in self._usable(demand) if self._available[each] >= demand.gpu_bytes]
        return tuple(sorted(able, key=cost)[: demand.gpus])

    def _make_room(self, needs: Mapping[str, int]) -> list[Action]:
        """Promise memory that is free, or will be: nothing that waits shorter gets it."""
        missing = self._promise(needs)
        for place in missing:
            leaving = min(missing[place], self._leaving[place])
            self._leaving[place] -= leaving
            missing[place] -= leaving
        return self._evict(missing)

    def _promise(self, needs: Mapping[str, int]) -> dict[str, int]:
        """Of what is free. Returns what is missing."""
        missing = {}
        for place, needed in needs.items():
            promised = min(needed, max(0, self._free[place]))
            self._free[place] -= promised
            missing[place] = needed - promised
        return missing

    def _evict(self, missing: dict[str, int]) -> list[Action]:
        """Drain models until `missing` bytes will be free; none if that cannot be reached yet."""
        victims: list[Resident] = []
        for each in self._evictable:
            places = each.places
            if any(missing[place] > 0 for place in places if place in missing):
                victims.append(each)
                for place in places:
                    missing[place] = missing.get(place, 0) - places[place]
        if any(each > 0 for each in missing.values()):
            return []
        self._evictable = [each for each in self._evictable if each not in victims]
        for place, surplus in missing.items():
            # What victims have too much of is for the next demand.
            self._leaving[place] -= surplus
        return [Drain(each.model, each.requests > 0) for each in victims]


def _needs(demand: Demand, gpus: Iterable[str]) -> Mapping[str, int]:
    return {_RAM: demand.size_bytes, **dict.fromkeys(gpus, demand.gpu_bytes)}


def _less(budgets: Mapping[str, int], residents: Iterable[Resident]) -> Counter[str]:
    """What residents leave of the budgets, or are over them."""
    left = Counter(budgets)
    for each in residents:
        left.subtract(each.places)
    return left


def _eviction_order(resident: Resident) -> tuple[bool, bool, bool, float]:
    is_busy, is_ready = resident.requests > 0, resident.state is State.READY
    return is_busy, is_ready, not resident.is_extra, resident.since if is_busy else resident.last_used
