"""Shares of the fair queue: what clients are given when their requests cost different amounts of work."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.routing.fair_queue import FairQueue
from frontend.routing.ticket import Charge, Ticket
from frontend.routing.work import Work

_LARGEST = 30_000


@dataclass(eq=False)
class Waiting:
    ticket: Ticket


def _waiting(
    client: str, tokens: float, weight: float = 1.0, is_long: bool = False, priority: int = 0
) -> Waiting:
    charge = Charge(Work(prompt_tokens=tokens), is_long)
    return Waiting(Ticket(client, priority=priority, weight=weight, charge=charge))


def _take(queue: FairQueue[Waiting], hold_long: bool = False) -> Ticket:
    head = queue.head(hold_long)
    assert head is not None
    queue.dequeue(head)
    return head.ticket


def _settle(queue: FairQueue[Waiting], ticket: Ticket, work: Work) -> None:
    assert ticket.charge is not None
    queue.settle(ticket.charge, work)


def test_thirty_short_prompts_leave_for_each_long_one() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(10):
        queue.enqueue(_waiting("heavy", 30_000))
    for _ in range(100):
        queue.enqueue(_waiting("light", 1_000))

    left = [_take(queue).client for _ in range(62)]

    assert Counter(left) == {"heavy": 2, "light": 60}
    assert left.index("heavy") == 0
    assert left[2:].index("heavy") == 29


@given(
    st.lists(st.floats(1, _LARGEST), min_size=40, max_size=40),
    st.lists(st.floats(1, _LARGEST), min_size=40, max_size=40),
    st.sampled_from([(1.0, 1.0), (1.0, 3.0), (0.5, 2.0)]),
)
def test_the_work_of_two_clients_that_wait_all_the_time_stays_close(
    one: list[float], other: list[float], weights: tuple[float, float]
) -> None:
    queue: FairQueue[Waiting] = FairQueue()
    waiting = {"one": len(one), "other": len(other)}
    for client, costs, weight in (("one", one, weights[0]), ("other", other, weights[1])):
        for cost in costs:
            queue.enqueue(_waiting(client, cost, weight))
    served = {"one": 0.0, "other": 0.0}
    while all(waiting.values()):
        ticket = _take(queue)
        waiting[ticket.client] -= 1
        served[ticket.client] += ticket.cost / ticket.weight
        assert abs(served["one"] - served["other"]) <= _LARGEST / min(weights) + 1e-6


def test_a_weight_of_three_gets_three_times_the_work() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(100):
        queue.enqueue(_waiting("one", 500, weight=1))
        queue.enqueue(_waiting("three", 500, weight=3))

    left = Counter(_take(queue).client for _ in range(80))

    assert left == {"one": 20, "three": 60}


def test_what_was_cached_is_given_back_when_the_request_is_settled() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(3):
        queue.enqueue(_waiting("cached", 10_000))
        queue.enqueue(_waiting("other", 2_000))

    first = _take(queue)
    _settle(queue, first, Work(prompt_tokens=10_000, cached_tokens=9_990))

    assert first.client == "cached"
    assert [_take(queue).client for _ in range(3)] == ["other", "cached", "other"]


def test_generated_tokens_are_charged_when_the_request_is_settled() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(30):
        queue.enqueue(_waiting("talkative", 100))
        queue.enqueue(_waiting("terse", 100))
    _settle(queue, _take(queue), Work(prompt_tokens=100, generated_tokens=500))

    assert [_take(queue).client for _ in range(12)] == ["terse"] * 11 + ["talkative"]


def test_a_request_is_settled_once() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    queue.enqueue(_waiting("a", 100))
    queue.enqueue(_waiting("a", 100))
    ticket = _take(queue)
    for _ in range(3):
        _settle(queue, ticket, Work(prompt_tokens=1_000_000))
    queue.enqueue(_waiting("b", 999_000))
    queue.enqueue(_waiting("b", 1))

    assert [_take(queue).client for _ in range(3)] == ["b", "b", "a"]


def test_a_request_that_a_worker_refused_is_charged_once() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    again = _waiting("a", 1_000)
    queue.charge(again.ticket)
    queue.enqueue(again)
    queue.enqueue(_waiting("a", 1_000))
    queue.enqueue(_waiting("b", 1_500))
    queue.enqueue(_waiting("b", 1))

    assert [_take(queue).client for _ in range(4)] == ["b", "a", "a", "b"]


def test_a_client_gets_no_credit_for_the_time_in_which_it_asked_for_nothing() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(200):
        queue.enqueue(_waiting("busy", 1_000))
    for _ in range(100):
        _take(queue)
    for _ in range(100):
        queue.enqueue(_waiting("new", 1_000))

    assert Counter(_take(queue).client for _ in range(20)) == {"busy": 10, "new": 10}


def test_a_client_that_owes_work_does_not_lose_its_debt_by_leaving_the_queue() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    queue.enqueue(_waiting("heavy", 30_000))
    _take(queue)
    queue.enqueue(_waiting("heavy", 30_000))
    for _ in range(40):
        queue.enqueue(_waiting("light", 1_000))

    assert [_take(queue).client for _ in range(31)].index("heavy") == 30


def test_long_requests_are_held_back_while_short_ones_pass() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for client in ("a", "b"):
        queue.enqueue(_waiting(client, 5_000, is_long=True))
        queue.enqueue(_waiting(client, 10))
    low = _waiting("c", 10, priority=-1)
    queue.enqueue(low)

    held = [_take(queue, hold_long=True) for _ in range(3)]

    assert [(ticket.client, ticket.is_long) for ticket in held] == [("a", False), ("b", False), ("c", False)]
    assert queue.head(hold_long=True) is None
    assert queue.short == 0
    assert [_take(queue).client for _ in range(2)] == ["a", "b"]


def test_priorities_and_requeued_requests_go_before_shares() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(5):
        queue.enqueue(_waiting("heavy", 30_000, priority=1))
        queue.enqueue(_waiting("light", 1))
    requeued = Waiting(Ticket("begun", requeued=True))
    queue.enqueue(requeued)

    assert [_take(queue).client for _ in range(7)] == ["begun", *["heavy"] * 5, "light"]


_ARRIVALS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.floats(1, 5_000), st.integers(-1, 1)), min_size=1, max_size=40
)


@given(_ARRIVALS)
def test_a_position_says_how_many_go_before_when_costs_differ(drawn: list[tuple[str, float, int]]) -> None:
    queue: FairQueue[Waiting] = FairQueue()
    waiting = [_waiting(client, cost, priority=priority) for client, cost, priority in drawn]
    for each in waiting:
        queue.enqueue(each)
    positions = {each: sum(queue.before(each)) for each in waiting}
    expected = queue.first(len(waiting))

    order = []
    while (head := queue.head()) is not None:
        queue.dequeue(head)
        order.append(head)
    assert order == expected
    assert [positions[each] for each in order] == list(range(len(waiting)))


@given(_ARRIVALS)
def test_no_client_starves_under_a_stream_of_others(drawn: list[tuple[str, float, int]]) -> None:
    """However much others ask for, a request leaves once they have been given as much as it may cost."""
    queue: FairQueue[Waiting] = FairQueue()
    for client, cost, _ in drawn:
        queue.enqueue(_waiting(client, cost))
    mine = _waiting("mine", 100)
    queue.enqueue(mine)
    served: defaultdict[str, float] = defaultdict(float)
    for number in count():
        ticket = _take(queue)
        if ticket is mine.ticket:
            break
        assert number < 200
        served[ticket.client] += ticket.cost
        queue.enqueue(_waiting(ticket.client, 2_500))
    assert all(work <= 2 * 5_000 for work in served.values())


def test_accounts_of_idle_clients_are_dropped() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    in_flight = _waiting("in flight", 10)
    queue.charge(in_flight.ticket)
    for number in range(50_000):
        waiting = _waiting(f"client {number}", 10)
        queue.charge(waiting.ticket)
        _settle(queue, waiting.ticket, Work(prompt_tokens=10))
        assert queue.accounts <= 8_200
    _settle(queue, in_flight.ticket, Work(prompt_tokens=10_000))
    queue.enqueue(_waiting("in flight", 1))
    queue.enqueue(_waiting("new", 5_000))
    assert _take(queue).client == "new"


@pytest.mark.parametrize("weight", [0.0, -1.0])
def test_a_weight_that_is_not_above_zero_counts_as_a_very_small_one(weight: float) -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for _ in range(3):
        queue.enqueue(_waiting("none", 10, weight))
        queue.enqueue(_waiting("one", 10))

    assert [_take(queue).client for _ in range(4)] == ["none", "one", "one", "one"]
