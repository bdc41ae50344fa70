"""Fair queue."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from frontend.routing.fair_queue import FairQueue, Ticket


@dataclass(eq=False)
class Waiting:
    ticket: Ticket


def _queue(*tickets: Ticket) -> FairQueue[Waiting]:
    queue: FairQueue[Waiting] = FairQueue()
    for ticket in tickets:
        queue.enqueue(Waiting(ticket))
    return queue


def _position(queue: FairQueue[Waiting], request_id: str) -> int | None:
    return queue.position(lambda waiter: waiter.ticket.request_id == request_id)


def _order(queue: FairQueue[Waiting]) -> list[str]:
    order = []
    while (first := queue.head()) is not None:
        queue.dequeue(first)
        order.append(first.ticket.request_id)
    return order


def test_a_thousand_of_one_client_do_not_starve_one_of_another() -> None:
    many = [Ticket("greedy", f"g{number}") for number in range(1000)]
    queue = _queue(*many, Ticket("modest", "m"))

    assert _order(queue)[:3] == ["g0", "m", "g1"]


def test_within_a_client_it_is_first_come_first_served() -> None:
    assert _order(_queue(*(Ticket("a", f"{number}") for number in range(5)))) == ["0", "1", "2", "3", "4"]


def test_a_priority_goes_before_all_lower_ones() -> None:
    queue = _queue(Ticket("a", "low", -1), Ticket("b", "normal"), Ticket("c", "high", 5))

    assert _order(queue) == ["high", "normal", "low"]


def test_requeued_requests_go_first_in_their_order() -> None:
    begun = [Ticket("b", "first", requeued=True), Ticket("c", "second", -5, requeued=True)]

    assert _order(_queue(Ticket("a", "new", 9), *begun)) == ["first", "second", "new"]


def test_a_request_that_gives_up_does_not_block_others() -> None:
    queue = _queue(Ticket("a", "1"))
    gone = Waiting(Ticket("a", "2"))
    queue.enqueue(gone)
    queue.enqueue(Waiting(Ticket("a", "3")))
    queue.remove(gone)
    queue.remove(gone)

    assert len(queue) == 2
    assert _order(queue) == ["1", "3"]
    queue.remove(gone)
    assert len(queue) == 0


_TICKETS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(-1, 1), st.booleans()), min_size=1, max_size=30
)


@given(_TICKETS)
def test_a_position_says_how_many_go_before(drawn: list[tuple[str, int, bool]]) -> None:
    tickets = [
        Ticket(client, f"{number}", priority, requeued)
        for number, (client, priority, requeued) in enumerate(drawn)
    ]
    queue = _queue(*tickets)
    positions = {ticket.request_id: _position(queue, ticket.request_id) for ticket in tickets}

    assert [positions[request_id] for request_id in _order(queue)] == list(range(len(tickets)))
    assert _position(queue, "unknown") is None


def _gives_way(queue: FairQueue[Waiting], ticket: Ticket) -> str | None:
    last = queue.eviction_candidate(ticket)
    return None if last is None else last.ticket.request_id


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-1, 1), st.booleans()), max_size=30))
def test_the_first_ones_are_listed_in_the_order_in_which_they_leave(
    drawn: list[tuple[str, int, bool]],
) -> None:
    tickets = [
        Ticket(client, f"r{number}", priority, requeued)
        for number, (client, priority, requeued) in enumerate(drawn)
    ]
    queue = _queue(*tickets)
    listed = [waiting.ticket.request_id for waiting in queue.first(7)]
    assert listed == _order(queue)[:7]


def test_the_newest_request_of_the_longest_lane_is_evicted() -> None:
    queue = _queue(
        *(Ticket("greedy", f"g{number}") for number in range(5)), Ticket("a", "a"), Ticket("b", "b")
    )

    assert _gives_way(queue, Ticket("new")) == "g4"
    assert _gives_way(queue, Ticket("a")) == "g4"
    assert _gives_way(queue, Ticket("greedy")) is None


def test_no_request_is_evicted_for_a_lane_that_would_be_longer() -> None:
    queue = _queue(Ticket("a", "a"), Ticket("b", "b1"), Ticket("b", "b2"))

    assert _gives_way(queue, Ticket("a")) is None
    assert _gives_way(queue, Ticket("new")) == "b2"
    assert _gives_way(_queue(Ticket("a", "a")), Ticket("new")) is None


def test_neither_higher_priorities_nor_requeued_requests_are_evicted() -> None:
    high = [Ticket("greedy", f"g{number}", priority=1) for number in range(3)]
    begun = [Ticket("greedy", f"m{number}", requeued=True) for number in range(9)]

    assert _gives_way(_queue(*high, *begun), Ticket("new")) is None
    assert _gives_way(_queue(*high, *begun), Ticket("new", priority=1)) == "g2"
