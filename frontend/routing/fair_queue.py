"""Waiting in turn: by priority, and within one priority client by client, however many each has sent."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose request it is. `priority`: larger is sooner; `must`: it has begun already or has had its turn, so
    it is not refused and goes before all others.
    """

    client: str = ""
    request_id: str = ""
    priority: int = 0
    must: bool = False

    @property
    def rank(self) -> tuple[bool, int]:
        return (self.must, 0 if self.must else self.priority)

    @property
    def line(self) -> str:
        """Those that must go are one line: first come, first served."""
        return "" if self.must else self.client


class HasTicket(Protocol):
    @property
    def ticket(self) -> Ticket: ...


Waiting = TypeVar("Waiting", bound=HasTicket)


class FairQueue(Generic[Waiting]):
    """Each client's requests are a line of their own; the lines take turns."""

    def __init__(self) -> None:
        self._lines: dict[tuple[bool, int], OrderedDict[str, deque[Waiting]]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def enter(self, waiter: Waiting) -> None:
        lines = self._lines.setdefault(waiter.ticket.rank, OrderedDict())
        lines.setdefault(waiter.ticket.line, deque()).append(waiter)
        self._length += 1

    def leave(self, waiter: Waiting) -> None:
        """Nothing happens if it is not there any more."""
        lines = self._lines.get(waiter.ticket.rank, OrderedDict())
        line = lines.get(waiter.ticket.line, deque())
        if waiter in line:
            line.remove(waiter)
            self._length -= 1
            self._tidy(waiter.ticket.rank, waiter.ticket.line)

    def first(self) -> Waiting | None:
        """Whose turn it is."""
        if not self._lines:
            return None
        lines = self._lines[max(self._lines)]
        return next(iter(lines.values()))[0]

    def last_of_longest(self, ticket: Ticket) -> Waiting | None:
        """Who gives way to a newcomer where there is no room: the last of the longest line of the newcomer's
        rank or a lower one. None where that line would not be longer than the newcomer's own then.
        """
        own = len(self._lines.get(ticket.rank, OrderedDict()).get(ticket.line, ()))
        lower = [lines for rank, lines in self._lines.items() if not rank[0] and rank <= ticket.rank]
        longest = max((line for lines in lower for line in lines.values()), key=len, default=None)
        return longest[-1] if longest is not None and len(longest) > own + 1 else None

    def served(self, waiter: Waiting) -> None:
        """The first one goes, and its client comes after all others."""
        rank, line = waiter.ticket.rank, waiter.ticket.line
        lines = self._lines[rank]
        lines[line].popleft()
        lines.move_to_end(line)
        self._length -= 1
        self._tidy(rank, line)

    def position(self, is_meant: Callable[[Waiting], bool]) -> int | None:
        """How many go before the one that is meant, as things are: 0 is the next one. None: it does not wait
        here. Clients choose request ids, so that several may have one: who knows its waiter asks for that.
        """
        before = 0
        for rank in sorted(self._lines, reverse=True):
            lines = self._lines[rank]
            found = _place(lines, is_meant)
            if found is not None:
                return before + found
            before += sum(map(len, lines.values()))
        return None

    def _tidy(self, rank: tuple[bool, int], line: str) -> None:
        lines = self._lines[rank]
        if not lines[line]:
            del lines[line]
        if not lines:
            del self._lines[rank]


def _place(lines: OrderedDict[str, deque[Waiting]], is_meant: Callable[[Waiting], bool]) -> int | None:
    """Round by round: in each, every line that is long enough sends one."""
    for number, line in enumerate(lines.values()):
        for depth, waiter in enumerate(line):
            if is_meant(waiter):
                earlier, later = list(lines.values())[:number], list(lines.values())[number + 1 :]
                return (
                    depth
                    + sum(min(len(other), depth + 1) for other in earlier)
                    + sum(min(len(other), depth) for other in later)
                )
    return None
