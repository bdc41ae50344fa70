"""Which models a host loads and evicts: a pure function of what is in memory and of who waits.

The rules, in this order:

1. The model whose request waits longest gets the next turn. Memory that it waits for is not given to others.
2. A model that fits is loaded at once.
3. Otherwise models are evicted: idle ones, second replicas first, then the least recently used; if that is
   not enough, busy ones, the longest resident first. A busy one takes no new requests and drains.
4. No model is evicted before it was in memory for `min_residency_seconds`, nor, within a bound, before it has
   served one of the requests that it was loaded for: else loads could follow one another and serve nothing.
5. A second replica only takes memory that is free.

Since every decision is made here, by one function over one state, two evictions never wait for each other.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Container, Iterable, Sequence
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
    `since`: when it became READY. `has_served`: it had a request since. `is_pinned`: the operator keeps it.
    `is_extra`: a second replica.
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


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests that wait for a model. `since`: when the longest waiting one came. `is_extra`: another host
    has the model already.
    """

    model: str
    size_bytes: int
    since: float
    is_extra: bool = False


# How long a model is kept that requests wait for and that has none yet: frontends have to connect first.
_FIRST_REQUEST_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Load:
    """Start a worker for the model."""

    model: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Let the model's requests end, and then end its worker. `is_busy`: it has requests."""

    model: str
    is_busy: bool


@dataclass(frozen=True, slots=True)
class Refuse:
    """The model never fits: it needs `size_bytes`, and `available_bytes` is all that there is for it."""

    model: str
    size_bytes: int
    available_bytes: int


Action = Load | Drain | Refuse


def plan(
    now: float,
    budget_bytes: int,
    min_residency_seconds: float,
    residents: Sequence[Resident],
    demands: Iterable[Demand],
) -> list[Action]:
    """The next actions. Call it again when one has ended, and when `next_eviction` says so."""
    wanted = list(demands)
    awaited = {each.model for each in wanted}
    evictable = [
        each for each in residents if now >= _evictable_at(each, min_residency_seconds, each.model in awaited)
    ]
    memory = _Memory(budget_bytes, residents, evictable)
    actions: list[Action] = []
    for demand in sorted(wanted, key=lambda each: (each.is_extra, each.since)):
        actions += memory.serve(demand)
    return actions


def next_eviction(
    now: float, min_residency_seconds: float, residents: Iterable[Resident], awaited: Container[str] = ()
) -> float | None:
    """When another model may be evicted; None if that needs no waiting. `awaited`: models that requests wait
    for.
    """
    due = (_evictable_at(each, min_residency_seconds, each.model in awaited) for each in residents)
    return min((at for at in due if now < at < math.inf), default=None)


def _evictable_at(resident: Resident, min_residency_seconds: float, is_awaited: bool) -> float:
    if resident.state is not State.READY or resident.is_pinned:
        return math.inf
    keep_seconds = min_residency_seconds
    if is_awaited and not resident.has_served:
        keep_seconds = max(keep_seconds, _FIRST_REQUEST_SECONDS)
    return resident.since + keep_seconds


class _Memory:
    """The host's memory while a plan is made.

    `_free`: of no model, and not promised. `_leaving`: of draining models, and not promised yet.
    """

    def __init__(
        self, budget_bytes: int, residents: Sequence[Resident], evictable: Iterable[Resident]
    ) -> None:
        self._budget_bytes = budget_bytes
        self._residents = {each.model: each for each in residents}
        self._free = budget_bytes - sum(each.size_bytes for each in residents)
        self._leaving = sum(each.size_bytes for each in residents if each.state is State.DRAINING)
        self._pinned = sum(each.size_bytes for each in residents if each.is_pinned)
        self._evictable = sorted(evictable, key=_eviction_order)

    def serve(self, demand: Demand) -> list[Action]:
        resident = self._residents.get(demand.model)
        if resident is not None and resident.state is not State.DRAINING:
            return []
        available_bytes = self._budget_bytes - self._pinned
        if demand.size_bytes > available_bytes:
            return [Refuse(demand.model, demand.size_bytes, available_bytes)]
        if demand.size_bytes <= self._free and resident is None:
            self._free -= demand.size_bytes
            return [Load(demand.model)]
        return [] if demand.is_extra else self._make_room(demand.size_bytes)

    def _make_room(self, size_bytes: int) -> list[Action]:
        """Promise memory that is free, or will be: nothing that waits shorter gets it."""
        missing = size_bytes - self._promise_free(size_bytes)
        leaving = min(missing, self._leaving)
        self._leaving -= leaving
        return self._evict(missing - leaving)

    def _promise_free(self, size_bytes: int) -> int:
        promised = min(size_bytes, max(0, self._free))
        self._free -= promised
        return promised

    def _evict(self, missing: int) -> list[Action]:
        """Drain models until `missing` bytes will be free; none if that cannot be reached yet."""
        victims: list[Resident] = []
        for each in self._evictable:
            if missing <= 0:
                break
            victims.append(each)
            missing -= each.size_bytes
        if missing > 0:
            return []
        self._evictable = self._evictable[len(victims) :]
        # What a victim has too much of is for the next demand.
        self._leaving -= missing
        return [Drain(each.model, each.requests > 0) for each in victims]


def _eviction_order(resident: Resident) -> tuple[bool, bool, float]:
    is_busy = resident.requests > 0
    return is_busy, not resident.is_extra, resident.since if is_busy else resident.last_used
