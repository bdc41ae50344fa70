"""Candidates updated one by one give the same choice as a look at all of them."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import pytest

from frontend.routing.policies import PolicyName, policy_of
from frontend.routing.policies.base import Choices
from frontend.routing.policies.least_load import burden
from frontend.routing.policies.ring import _point, _points

_NAMES: tuple[PolicyName, ...] = ("prefix", "least_load", "round_robin", "power_of_two")
_FEW, _MANY = 8, 256
_CHANGES = 3000


@dataclass(eq=False)
class Worker:
    """Implements Candidate."""

    address: str
    load: float = 0
    waiting_prompt_tokens: float = 0


@dataclass(eq=False)
class Counted:
    """Implements Candidate. `looks`: of all of them together."""

    address: str
    looks: list[str]
    its_load: float = 0

    @property
    def load(self) -> float:
        self.looks.append(self.address)
        return self.its_load

    @property
    def waiting_prompt_tokens(self) -> float:
        self.looks.append(self.address)
        return 0


def _workers(count: int) -> list[Worker]:
    return [Worker(f"10.0.{number // 250}.{number % 250}:50051") for number in range(count)]


class _Played:
    """Random changes of workers; `there`: those that are candidates, in the order of `workers`."""

    def __init__(self, name: PolicyName, seed: int) -> None:
        self._chance = random.Random(seed)
        self.workers = _workers(24)
        self.choices: Choices[Worker] = policy_of(name).choices(self.workers)
        self._there: set[Worker] = set()

    @property
    def there(self) -> Sequence[Worker]:
        return [worker for worker in self.workers if worker in self._there]

    def change(self) -> None:
        worker = self._chance.choice(self.workers)
        if self._chance.random() < 0.4:
            self._there.discard(worker)
            self.choices.drop(worker)
            return
        worker.load = self._chance.randrange(6)
        worker.waiting_prompt_tokens = self._chance.choice((0, 0, 100, 512, 3000))
        self._there.add(worker)
        self.choices.put(worker)

    def key(self) -> bytes:
        return self._chance.randbytes(4)


def _on_a_ring_of_its_own(workers: Sequence[Worker], key: bytes) -> Worker:
    by_address = {worker.address: worker for worker in workers}
    ring = sorted(point for address in by_address for point in _points(address))
    bound = ceil(1.25 * (sum(worker.load for worker in workers) + 1) / len(workers))
    start = bisect(ring, (_point(key), ""))
    return next(
        by_address[address] for _, address in ring[start:] + ring[:start] if by_address[address].load < bound
    )


@pytest.mark.parametrize("seed", range(3))
def test_prefix_picks_as_on_a_ring_of_the_candidates(seed: int) -> None:
    played = _Played("prefix", seed)
    for _ in range(_CHANGES):
        played.change()
        key = played.key()
        if len(played.there) > 1:
            assert played.choices.pick(key) is _on_a_ring_of_its_own(played.there, key)


@pytest.mark.parametrize("name", ["least_load", "prefix"])
@pytest.mark.parametrize("seed", range(3))
def test_the_least_burden_is_picked(name: PolicyName, seed: int) -> None:
    played = _Played(name, seed)
    for _ in range(_CHANGES):
        played.change()
        chosen = played.choices.pick(None)
        there = played.there
        assert (chosen in there) if there else chosen is None
        assert chosen is None or burden(chosen) == min(map(burden, there))


@pytest.mark.parametrize("seed", range(3))
def test_in_turn_the_one_that_was_picked_longest_ago(seed: int) -> None:
    played = _Played("round_robin", seed)
    last: dict[Worker, int] = {}
    for turn in range(1, _CHANGES):
        played.change()
        expected = min(played.there, key=lambda worker: last.get(worker, 0), default=None)
        assert played.choices.pick(None) is expected
        if expected is not None:
            last[expected] = turn


def test_turns_count_for_all_models() -> None:
    policy, workers = policy_of("round_robin"), _workers(3)
    one, other = policy.choices(workers), policy.choices(workers)
    for worker in workers:
        one.put(worker)
        other.put(worker)
    picked = [choices.pick(None) for choices in (one, other, one, other, one, other)]
    assert picked == 2 * workers


@pytest.mark.parametrize("seed", range(3))
def test_of_two_the_more_burdened_never(seed: int) -> None:
    played = _Played("power_of_two", seed)
    for _ in range(_CHANGES):
        played.change()
        chosen, there = played.choices.pick(None), played.there
        assert (chosen in there) if there else chosen is None
        if chosen is not None and len(there) > 1:
            assert any(burden(chosen) <= burden(each) for each in there if each is not chosen)


@pytest.mark.parametrize("name", _NAMES)
def test_without_candidates_there_is_none(name: PolicyName) -> None:
    workers = _workers(2)
    choices = policy_of(name).choices(workers)
    assert choices.pick(None) is choices.pick(b"key") is None
    for worker in workers:
        choices.put(worker)
    for worker in workers:
        choices.drop(worker)
        choices.drop(worker)
    assert choices.pick(None) is choices.pick(b"key") is None


@pytest.mark.parametrize("name", _NAMES)
def test_memory_does_not_grow_with_changes(name: PolicyName) -> None:
    """Entries of a heap that are out of date go before it is much larger than the candidates."""
    workers = _workers(2)
    choices = policy_of(name).choices(workers)
    for number in range(5000):
        for worker in workers:
            worker.waiting_prompt_tokens = number
            choices.drop(worker)
            choices.put(worker)
    assert len(getattr(choices, "_heap", ())) < 100


def _looks_per_pick(name: PolicyName, count: int, key: Callable[[int], bytes | None]) -> float:
    """At workers, by a pick and the update after it; the load is uneven, and stays as it is."""
    looks: list[str] = []
    workers = [Counted(f"w:{number}", looks, number % 4) for number in range(count)]
    choices = policy_of(name).choices(workers)
    for worker in workers:
        choices.put(worker)
    looks.clear()
    picks = 500
    for number in range(picks):
        chosen = choices.pick(key(number))
        assert chosen is not None
        choices.put(chosen)
    return len(looks) / picks


@pytest.mark.parametrize("key", [lambda number: None, lambda number: number.to_bytes(4, "big")])
@pytest.mark.parametrize("name", _NAMES)
def test_a_pick_looks_at_no_more_workers_where_there_are_more(
    name: PolicyName, key: Callable[[int], bytes | None]
) -> None:
    assert _looks_per_pick(name, _MANY, key) <= _looks_per_pick(name, _FEW, key) + 0.01
