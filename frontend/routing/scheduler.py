"""The gate before the workers of one model: a request goes through when one of them has room, and waits in a
fair queue until then.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from drover.errors import NoWorkerReady, QueueFull
from frontend.routing.fair_queue import FairQueue, Ticket
from frontend.routing.managed_worker import ManagedWorker, WorkerPermit
from frontend.routing.served_model import Kind, ServedModel

# Each departure counts a tenth in how fast the queue is said to move.
_NEWEST_COUNTS = 0.1
_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Waited:
    """`position`: on arrival, 1 for the next one; 0 for who did not wait."""

    seconds: float = 0.0
    position: int = 0


class WorkerSelector(Protocol):
    """A request that looks for its worker."""

    def check(self) -> None:
        """Raises NoWorkerReady while no worker is there at all."""

    def choose(self) -> ManagedWorker | None:
        """The best worker that has room."""


@dataclass(eq=False, slots=True)
class _Waiter:
    ticket: Ticket
    seeker: WorkerSelector
    given: asyncio.Future[WorkerPermit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class ModelQueue:
    """`may_wait`: whether the frontend has room for one more that waits. `patience_seconds`: how long those
    that wait stay when all workers are gone.
    """

    def __init__(self, may_wait: Callable[[], bool], patience_seconds: float) -> None:
        self._may_wait = may_wait
        self._patience_seconds = patience_seconds
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._seconds_between = 0.0
        self._last_departure = 0.0

    def __len__(self) -> int:
        return len(self._queue)

    async def enter(self, ticket: Ticket, seeker: WorkerSelector) -> tuple[WorkerPermit, Waited]:
        """Raises QueueFull and NoWorkerReady."""
        if not ticket.must:
            seeker.check()
        member = seeker.choose() if ticket.must or not len(self._queue) else None
        if member is not None:
            return member.take(), Waited()
        if not (ticket.must or self._may_wait() or self._has_made_room(ticket)):
            raise QueueFull()
        return await self._wait(_Waiter(ticket, seeker))

    def pump(self) -> None:
        """Something may have changed: who can go now goes."""
        while (waiter := self._queue.first()) is not None:
            member = waiter.seeker.choose()
            if member is None:
                return
            self._queue.served(waiter)
            waiter.given.set_result(member.take())
            self._departed()

    def position(self, is_meant: Callable[[Ticket], bool]) -> int | None:
        """1 for the next one."""
        before = self._queue.position(lambda waiter: is_meant(waiter.ticket))
        return None if before is None else before + 1

    def expected_seconds(self, position: int) -> float:
        """How long the one at that position will wait, if the queue goes on as it did."""
        return self._seconds_between * position

    def _has_made_room(self, ticket: Ticket) -> bool:
        """A client that has filled the queue does not keep others out of it: its newest request gives way."""
        last = self._queue.last_of_longest(ticket)
        if last is None:
            return False
        self._queue.leave(last)
        last.given.set_exception(QueueFull())
        return True

    async def _wait(self, waiter: _Waiter) -> tuple[WorkerPermit, Waited]:
        began = time.monotonic()
        if not len(self._queue):
            self._last_departure = began
        self._queue.enter(waiter)
        before = self._queue.position(lambda each: each is waiter)
        position = len(self._queue) if before is None else before + 1
        try:
            await self._until_given(waiter)
            return waiter.given.result(), Waited(time.monotonic() - began, position)
        except BaseException:
            if waiter.given.done() and waiter.given.exception() is None:
                waiter.given.result().leave()
            raise
        finally:
            self._queue.leave(waiter)

    async def _until_given(self, waiter: _Waiter) -> None:
        last_there = time.monotonic()
        while not waiter.given.done():
            await asyncio.wait({waiter.given}, timeout=_LOOK_SECONDS)
            self.pump()
            try:
                waiter.seeker.check()
                last_there = time.monotonic()
            except NoWorkerReady:
                if time.monotonic() - last_there > self._patience_seconds and not waiter.given.done():
                    raise

    def _departed(self) -> None:
        now = time.monotonic()
        since, self._last_departure = now - self._last_departure, now
        if not self._seconds_between:
            self._seconds_between = since
        self._seconds_between += _NEWEST_COUNTS * (since - self._seconds_between)


# Models that a frontend has seen come and go; a gate where nobody waits knows nothing worth keeping.
_MOST_GATES = 256


@dataclass(frozen=True, slots=True)
class InQueue:
    """`position`: 1 for the next one."""

    position: int
    waiting: int
    expected_seconds: float


class Admission:
    """`most_waiting`: of this frontend, for all models together."""

    def __init__(self, most_waiting: int, patience_seconds: float) -> None:
        self._most_waiting = most_waiting
        self.patience_seconds = patience_seconds
        self._gates: dict[Kind, ModelQueue] = {}
        self._names: dict[Kind, str] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._gates.values()))

    @property
    def waiting_by_model(self) -> Mapping[str, int]:
        """By the first of a model's names; those for which nobody has asked yet are not there."""
        counts = Counter[str]()
        for key, gate in self._gates.items():
            counts[self._names[key]] += len(gate)
        return counts

    def gate(self, model: ServedModel) -> ModelQueue:
        """Before the workers that can replace each other."""
        key = model.kind
        if key not in self._gates:
            self._tidy()
            self._gates[key] = ModelQueue(self._may_wait, self.patience_seconds)
            self._names[key] = next(iter(model.info.names), "")
        return self._gates[key]

    def pump(self) -> None:
        for gate in list(self._gates.values()):
            gate.pump()

    def find(self, request_id: str, client: str) -> InQueue | None:
        """None for who does not wait. Where several clients use one id, the one that asks means its own; the
        id is enough where another one asks for it, as a monitor does.
        """
        own = self._find(lambda ticket: ticket.request_id == request_id and ticket.client == client)
        return own or self._find(lambda ticket: ticket.request_id == request_id)

    def _find(self, is_meant: Callable[[Ticket], bool]) -> InQueue | None:
        for gate in self._gates.values():
            position = gate.position(is_meant)
            if position is not None:
                return InQueue(position, len(gate), gate.expected_seconds(position))
        return None

    def _may_wait(self) -> bool:
        return self.waiting < self._most_waiting

    def _tidy(self) -> None:
        if len(self._gates) >= _MOST_GATES:
            self._gates = {key: gate for key, gate in self._gates.items() if len(gate)}
            self._names = {key: name for key, name in self._names.items() if key in self._gates}
