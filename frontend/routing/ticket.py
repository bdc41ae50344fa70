"""A request's claim in a queue, and what it costs its client."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from frontend.routing.work import NO_WORK, Work

# Of what has no estimate: clients take turns.
_ONE_TURN = 1.0


@dataclass(eq=False, slots=True)
class Charge:
    """What a request costs its client: `estimate` from its dispatch on, what it took once it is settled.

    `is_long`: its prefill delays others. `on_settled`: called with what it took and whether it ended by
    itself, at most once, and only if it was dispatched.
    """

    estimate: Work = NO_WORK
    is_long: bool = False
    on_settled: Callable[[Charge, Work, bool], None] | None = None
    cost: float = field(init=False)
    account: Account | None = None
    """That of the client, from dispatch until it is settled."""

    def __post_init__(self) -> None:
        self.cost = self.estimate.cost

    def settle(self, work: Work, is_whole: bool = False) -> None:
        """Call when the request has ended, with what it took. `is_whole`: it ended by itself, so that later
        estimates may learn from it. Safe to call again.
        """
        if self.account is not None and self.on_settled is not None:
            self.on_settled(self, work, is_whole)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request's claim in a queue. `client`: the fair-queueing key; `priority`: larger goes first;
    `requeued`: it has begun or had its turn, so it goes before all others, is never refused and not charged
    again; `weight`: the share of its client, relative to others; `charge`: None for one turn, whatever it
    takes.
    """

    client: str = ""
    request_id: str = ""
    priority: int = 0
    requeued: bool = False
    weight: float = 1.0
    charge: Charge | None = None

    @property
    def cost(self) -> float:
        return _ONE_TURN if self.charge is None else self.charge.cost

    @property
    def is_long(self) -> bool:
        return self.charge is not None and self.charge.is_long

    @property
    def long_tokens(self) -> float:
        """Expected tokens of prefill; 0 for a short prompt."""
        return self.charge.estimate.prefill_tokens if self.charge is not None and self.charge.is_long else 0.0


class HasTicket(Protocol):
    @property
    def ticket(self) -> Ticket: ...


Queued = TypeVar("Queued", bound=HasTicket)


class Account:
    """The work that a client has been given within one priority.

    `served`: its cost divided by the client's weight, from the level at which it became active; `in_flight`:
    charges that are not settled; `turns`: of its short and of its long requests, the number of the valid
    entry in the heap, 0 for none.
    """

    __slots__ = ("client", "in_flight", "priority", "served", "turns", "weight")

    def __init__(self, priority: int, client: str, served: float) -> None:
        self.priority = priority
        self.client = client
        self.served = served
        self.weight = 1.0
        self.in_flight = 0
        self.turns = [0, 0]
