"""The queued requests of one priority, by client: whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Generic

from frontend.routing.ticket import Account, Queued

# Outdated entries of a heap that are kept, in addition to one for each valid one.
_MAX_OUTDATED = 64


class Lanes(Generic[Queued]):
    """Queued requests of one client within one priority, short and long, with their numbers of arrival."""

    __slots__ = ("account", "both")

    def __init__(self, account: Account) -> None:
        self.account = account
        self.both: tuple[dict[Queued, int], dict[Queued, int]] = ({}, {})

    def __len__(self) -> int:
        return len(self.both[0]) + len(self.both[1])

    def in_order(self) -> Iterable[Queued]:
        short, long = self.both
        if not long:
            return short
        arrivals = {**short, **long}
        return sorted(arrivals, key=arrivals.__getitem__)


Entry = tuple[float, int, Lanes[Queued]]
Turn = tuple[float, int, int]
"""When a request leaves, compared with others: its client's work before it, its place in the client's lanes,
the client's turn.
"""


class PriorityLanes(Generic[Queued]):
    """The clients that wait within one priority. `level`: the largest work of a client when it was served
    last; one that becomes active begins there, without credit for the time in which it asked for nothing.
    """

    def __init__(self) -> None:
        self.level = 0.0
        self.waiting: dict[str, Lanes[Queued]] = {}
        self._heaps: tuple[list[Entry[Queued]], list[Entry[Queued]]] = ([], [])

    def put(self, lanes: Lanes[Queued], kind: int, turn: int) -> None:
        """Add or move the client's lane of that kind to where its work belongs."""
        heap = self._heaps[kind]
        lanes.account.turns[kind] = turn
        heappush(heap, (lanes.account.served, turn, lanes))
        if len(heap) > 2 * len(self.waiting) + _MAX_OUTDATED:
            heap[:] = [entry for entry in heap if entry[2].account.turns[kind] == entry[1]]
            heapify(heap)

    def least(self, kind: int) -> tuple[float, int, Queued] | None:
        """The first request of the client that has least work, of those with requests of that kind."""
        heap = self._heaps[kind]
        while heap:
            served, turn, lanes = heap[0]
            if lanes.account.turns[kind] == turn:
                return served, turn, next(iter(lanes.both[kind]))
            heappop(heap)
        return None

    def before(self, waiter: Queued) -> tuple[int, int]:
        """How many short and how many long requests leave before a queued one of this priority."""
        lanes = self.waiting[waiter.ticket.client]
        own = next(turn for turn, each in self._turns_of(lanes) if each is waiter)
        counts = [0, 0]
        for lanes in self.waiting.values():
            if lanes.account.served > own[0]:
                continue
            for turn, each in self._turns_of(lanes):
                if turn >= own:
                    break
                counts[each.ticket.is_long] += 1
        return counts[0], counts[1]

    def turns(self) -> Iterator[tuple[Turn, Queued]]:
        """Each queued request and when it leaves, if no other comes and all cost what is expected."""
        for lanes in self.waiting.values():
            yield from self._turns_of(lanes)

    def _turns_of(self, lanes: Lanes[Queued]) -> Iterator[tuple[Turn, Queued]]:
        served, turns = lanes.account.served, lanes.account.turns
        for depth, waiter in enumerate(lanes.in_order()):
            ticket = waiter.ticket
            yield (served, depth, turns[ticket.is_long]), waiter
            served += ticket.cost / lanes.account.weight
