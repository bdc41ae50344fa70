"""Fair queue: by priority, and round robin over the clients within one priority."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Generic, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's claim in a queue. `client`: the fair-queueing key; `priority`: larger goes first;
    `requeued`: it has begun or had its turn, so it goes before all others and is never refused.
    """

    client: str = ""
    request_id: str = ""
    priority: int = 0
    requeued: bool = False

    @property
    def rank(self) -> tuple[bool, int]:
        return (self.requeued, 0 if self.requeued else self.priority)

    @property
    def lane(self) -> str:
        """Key of the request's lane. Requeued requests share one lane: first come, first served."""
        return "" if self.requeued else self.client


class HasTicket(Protocol):
    @property
    def ticket(self) -> Ticket: ...


Queued = TypeVar("Queued", bound=HasTicket)


class FairQueue(Generic[Queued]):
    """Each client's requests form a lane; within a rank the lanes take turns.

    Three requests of client A and two of client B, queued in the order A1 A2 A3 B1 B2, leave in the order

        round 1: A1 B1    round 2: A2 B2    round 3: A3

    so the position of A2 is 2: A1 from its own lane, and B1, since each later lane has had one turn. The
    position of B2 is 3: B1 from its own lane, and A1 and A2, since each earlier lane has had two turns.
    """

    def __init__(self) -> None:
        self._lanes: dict[tuple[bool, int], OrderedDict[str, deque[Queued]]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def enqueue(self, waiter: Queued) -> None:
        lanes = self._lanes.setdefault(waiter.ticket.rank, OrderedDict())
        lanes.setdefault(waiter.ticket.lane, deque()).append(waiter)
        self._length += 1

    def remove(self, waiter: Queued) -> None:
        """Remove a request that gives up. No effect if it is not queued any more."""
        lanes = self._lanes.get(waiter.ticket.rank, OrderedDict())
        lane = lanes.get(waiter.ticket.lane, deque())
        if waiter in lane:
            lane.remove(waiter)
            self._length -= 1
            self._drop_if_empty(waiter.ticket.rank, waiter.ticket.lane)

    def head(self) -> Queued | None:
        """The request that leaves next."""
        if not self._lanes:
            return None
        lanes = self._lanes[max(self._lanes)]
        return next(iter(lanes.values()))[0]

    def eviction_candidate(self, ticket: Ticket) -> Queued | None:
        """The request to evict for a new one with this ticket when the queue is full: the newest of the
        longest lane, among lanes of the same rank or a lower one. None if the new one's lane would then be
        the longer of the two.
        """
        own = len(self._lanes.get(ticket.rank, OrderedDict()).get(ticket.lane, ()))
        lower = [lanes for rank, lanes in self._lanes.items() if not rank[0] and rank <= ticket.rank]
        longest = max((lane for lanes in lower for lane in lanes.values()), key=len, default=None)
        return longest[-1] if longest is not None and len(longest) > own + 1 else None

    def dequeue(self, waiter: Queued) -> None:
        """Remove the request that `head` returned; its lane goes to the end of the round."""
        rank, lane = waiter.ticket.rank, waiter.ticket.lane
        lanes = self._lanes[rank]
        lanes[lane].popleft()
        lanes.move_to_end(lane)
        self._length -= 1
        self._drop_if_empty(rank, lane)

    def position(self, matches: Callable[[Queued], bool]) -> int | None:
        """How many requests leave before the first one that matches; None if none does."""
        before = 0
        for rank in sorted(self._lanes, reverse=True):
            lanes = self._lanes[rank]
            found = _position(lanes, matches)
            if found is not None:
                return before + found
            before += sum(map(len, lanes.values()))
        return None

    def first(self, limit: int) -> list[Queued]:
        """The first `limit` requests in the order in which they leave if no other comes."""
        found: list[Queued] = []
        for rank in sorted(self._lanes, reverse=True):
            rounds = zip_longest(*self._lanes[rank].values())
            in_order = (waiter for each in rounds for waiter in each if waiter is not None)
            found += islice(in_order, limit - len(found))
        return found

    def _drop_if_empty(self, rank: tuple[bool, int], lane: str) -> None:
        lanes = self._lanes[rank]
        if not lanes[lane]:
            del lanes[lane]
        if not lanes:
            del self._lanes[rank]


def _position(lanes: OrderedDict[str, deque[Queued]], matches: Callable[[Queued], bool]) -> int | None:
    """Position within one rank. A request at depth N of its lane leaves in round N + 1: before it leave N
    requests of its own lane, up to N + 1 of each earlier lane and up to N of each later lane.
    """
    for number, lane in enumerate(lanes.values()):
        for depth, waiter in enumerate(lane):
            if matches(waiter):
                earlier, later = list(lanes.values())[:number], list(lanes.values())[number + 1 :]
                return (
                    depth
                    + sum(min(len(other), depth + 1) for other in earlier)
                    + sum(min(len(other), depth) for other in later)
                )
    return None
