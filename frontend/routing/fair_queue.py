"""Fair queue: by priority, and within one by the work that each client has been given so far.

Start-time fair queueing over clients (Goyal et al., 1996), with tokens in place of bytes as in VTC (Sheng et
al., OSDI 2024).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from itertools import count
from typing import Generic

from frontend.routing.client_lanes import Lanes, PriorityLanes
from frontend.routing.ticket import Account, Charge, Queued, Ticket
from frontend.routing.work import Work

__all__ = ["FairQueue", "Ticket"]

# Accounts of clients without requests that are kept, those with the largest debts; twice as many before some
# are dropped.
_MAX_IDLE_ACCOUNTS = 4096
_LEAST_WEIGHT = 0.001


class FairQueue(Generic[Queued]):
    """The client that has been given least work leaves first; its own requests leave in order of arrival.

    Work is the cost of a request in tokens divided by its client's weight. It is charged as an estimate when
    a request is dispatched, and corrected when it is settled. Requests that cost the same and have the same
    weight leave in turn: A1 A2 A3 B1 B2 as A1 B1 A2 B2 A3.

    Long prompts may be held back while short ones pass (`head`), also those of the same client.
    """

    def __init__(self) -> None:
        self._requeued: dict[Queued, None] = {}
        self._priorities: dict[int, PriorityLanes[Queued]] = {}
        self._order: list[int] = []
        """The priorities, lowest first."""
        self._accounts: dict[tuple[int, str], Account] = {}
        self._prune_at = 2 * _MAX_IDLE_ACCOUNTS
        self._arrivals = count()
        self._turns = count(1)
        self._length = 0
        self._long = 0

    def __len__(self) -> int:
        return self._length

    @property
    def short(self) -> int:
        """Queued requests that are never held back."""
        return self._length - self._long

    @property
    def accounts(self) -> int:
        return len(self._accounts)

    def enqueue(self, waiter: Queued) -> None:
        ticket = waiter.ticket
        self._length += 1
        if ticket.requeued:
            self._requeued[waiter] = None
            return
        priority = self._priority(ticket)
        lanes = priority.waiting.get(ticket.client)
        if lanes is None:
            lanes = priority.waiting[ticket.client] = Lanes(self._active(ticket))
        kind = ticket.is_long
        self._long += kind
        lanes.both[kind][waiter] = next(self._arrivals)
        if len(lanes.both[kind]) == 1:
            priority.put(lanes, kind, next(self._turns))

    def remove(self, waiter: Queued) -> None:
        """Remove a request that gives up. No effect if it is not queued any more."""
        ticket = waiter.ticket
        if waiter in self._requeued:
            del self._requeued[waiter]
            self._length -= 1
            return
        priority = self._priorities.get(ticket.priority)
        lanes = priority.waiting.get(ticket.client) if priority is not None else None
        if priority is None or lanes is None or waiter not in lanes.both[ticket.is_long]:
            return
        kind = ticket.is_long
        self._length -= 1
        self._long -= kind
        del lanes.both[kind][waiter]
        if not lanes.both[kind]:
            lanes.account.turns[kind] = 0
        if not len(lanes):
            del priority.waiting[ticket.client]

    def head(self, hold_long: bool = False) -> Queued | None:
        """The request that leaves next. `hold_long`: the next one that is not long."""
        if self._requeued:
            return next(iter(self._requeued))
        for key in reversed(self._order):
            priority = self._priorities[key]
            if priority.waiting:
                kinds = (0,) if hold_long else (0, 1)
                heads = [each for kind in kinds if (each := priority.least(kind)) is not None]
                if heads:
                    return min(heads, key=lambda each: each[:2])[2]
        return None

    def dequeue(self, waiter: Queued) -> None:
        """Remove the request that `head` returned, and charge its client."""
        ticket = waiter.ticket
        account = None if ticket.requeued else self._active(ticket)
        self.remove(waiter)
        if account is not None:
            self._charge(ticket, account)

    def charge(self, ticket: Ticket) -> None:
        """Charge a request that is dispatched without having been queued. One that was requeued has been
        charged before.
        """
        if not ticket.requeued:
            self._charge(ticket, self._active(ticket))

    def _charge(self, ticket: Ticket, account: Account) -> None:
        if ticket.charge is not None and ticket.charge.account is not None:
            return  # A worker had refused it.
        priority = self._priority(ticket)
        priority.level = max(priority.level, account.served)
        account.served += ticket.cost / account.weight
        if ticket.charge is not None:
            ticket.charge.account = account
            account.in_flight += 1
        self._move(account)

    def settle(self, charge: Charge, work: Work) -> None:
        """Replace the estimate that was charged by what the request took. No effect if it was not charged."""
        if charge.account is None:
            return
        account, charge.account = charge.account, None
        account.served += (work.cost - charge.cost) / account.weight
        account.in_flight -= 1
        self._move(account)

    def eviction_candidate(self, ticket: Ticket) -> Queued | None:
        """The request to evict for a new one with this ticket when the queue is full: the newest of the
        client that has most queued, within the same priority or a lower one. None if the new one's client
        would then have more than that one.
        """
        own = len(self._priority(ticket).waiting.get(ticket.client, ()))
        lower = [each for key, each in self._priorities.items() if key <= ticket.priority]
        longest = max((lanes for each in lower for lanes in each.waiting.values()), key=len, default=None)
        return list(longest.in_order())[-1] if longest is not None and len(longest) > own + 1 else None

    def find(self, matches: Callable[[Queued], bool]) -> Queued | None:
        """The first queued request that matches, in no particular order among several."""
        waiting = (lanes for each in self._priorities.values() for lanes in each.waiting.values())
        queued = (waiter for lanes in waiting for lane in lanes.both for waiter in lane)
        return next((each for each in (*self._requeued, *queued) if matches(each)), None)

    def before(self, waiter: Queued) -> tuple[int, int]:
        """How many requests leave before a queued one: short ones, and long ones."""
        counts = [0, 0]
        for each in self._requeued:
            if each is waiter:
                return counts[0], counts[1]
            counts[0] += 1
        ticket = waiter.ticket
        for key, priority in self._priorities.items():
            if key > ticket.priority:
                for lanes in priority.waiting.values():
                    counts[0] += len(lanes.both[0])
                    counts[1] += len(lanes.both[1])
        short, long = self._priorities[ticket.priority].before(waiter)
        return counts[0] + short, counts[1] + long

    def position(self, matches: Callable[[Queued], bool]) -> int | None:
        """How many requests leave before the first one that matches; None if none does."""
        found = self.find(matches)
        return None if found is None else sum(self.before(found))

    def first(self, limit: int) -> list[Queued]:
        """The first `limit` requests in the order in which they leave if no other comes."""
        found = list(self._requeued)
        for key in reversed(self._order):
            if len(found) >= limit:
                break
            turns = sorted(self._priorities[key].turns(), key=lambda each: each[0])
            found += [waiter for _, waiter in turns]
        return found[:limit]

    def _priority(self, ticket: Ticket) -> PriorityLanes[Queued]:
        found = self._priorities.get(ticket.priority)
        if found is None:
            found = self._priorities[ticket.priority] = PriorityLanes()
            insort(self._order, ticket.priority)
        return found

    def _active(self, ticket: Ticket) -> Account:
        """The client's account. One without queued requests begins at the level of the others at least."""
        priority, key = self._priority(ticket), (ticket.priority, ticket.client)
        account = self._accounts.get(key)
        if account is None:
            self._prune()
            account = self._accounts[key] = Account(*key, priority.level)
        elif ticket.client not in priority.waiting:
            account.served = max(account.served, priority.level)
        account.weight = max(_LEAST_WEIGHT, ticket.weight)
        return account

    def _move(self, account: Account) -> None:
        """Move the client's lanes to where its work now belongs."""
        priority = self._priorities[account.priority]
        if (lanes := priority.waiting.get(account.client)) is not None:
            for kind, lane in enumerate(lanes.both):
                if lane:
                    priority.put(lanes, kind, next(self._turns))

    def _prune(self) -> None:
        """Drop accounts of idle clients: exactly those that would begin at the others' level anyway, and
        beyond a limit those with the smallest debts.
        """
        if len(self._accounts) < self._prune_at:
            return
        debts = {key: each.served - self._priorities[key[0]].level for key, each in self._accounts.items()}
        idle = {key for key, each in self._accounts.items() if not each.in_flight and not self._waits(key)}
        owing = sorted((key for key in idle if debts[key] > 0), key=debts.__getitem__)
        for key in idle.difference(owing[-_MAX_IDLE_ACCOUNTS:]):
            del self._accounts[key]
        self._prune_at = max(2 * _MAX_IDLE_ACCOUNTS, 2 * len(self._accounts))

    def _waits(self, key: tuple[int, str]) -> bool:
        return key[1] in self._priorities[key[0]].waiting
