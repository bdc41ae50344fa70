"""Queues in front of the workers: one per model, and the table of them all."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from drover.errors import DeadlineExceeded, DroverError, NoWorkerReady, QueueFull
from frontend.routing.capacity import WorkerPermit
from frontend.routing.fair_queue import FairQueue, Ticket
from frontend.routing.long_prompts import NO_LONG_PROMPTS, LongPrompts
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.served_model import Kind, ServedModel
from frontend.routing.ticket import Charge
from frontend.routing.work import Work
from frontend.routing.work_estimate import EstimateRequest, WorkEstimator

# Weight of the newest departure in the moving average of the seconds between two of them.
_NEWEST_WEIGHT = 0.1
# How long places are kept for short prompts after the last one came.
_RESERVE_SECONDS = 10.0
_POLL_SECONDS = 1.0
# Models come and go during a frontend's life; an empty queue holds nothing worth keeping.
_MAX_QUEUES = 256

Select = Callable[[], ManagedWorker | None]
"""Chooses a worker with room for one attempt of one request, or None if all of them are full."""

CheckReady = Callable[[], float | None]
"""None while a worker serves the request's model. Without one: for how many seconds the request may wait for
a host to load it; raises NoWorkerReady if none can.
"""


@dataclass(frozen=True, slots=True)
class HostLoad:
    """A load that a request waited for. `host`: the worker host's address."""

    host: str
    began_unix_ns: int


@dataclass(frozen=True, slots=True)
class QueueWait:
    """How long a request waited in the queue, and its position on arrival: 1 for the head of the queue, 0 if
    it did not wait. `load_seconds`: how much of it for a host that loaded the model; `load`: that load, where
    the host still says so.
    """

    seconds: float = 0.0
    position: int = 0
    load_seconds: float = 0.0
    load: HostLoad | None = None


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """A queued request now. `position`: 1 for the head of the queue, of the short prompts in it while long
    ones are held back; `waiting`: the queue's length.
    """

    position: int
    waiting: int
    expected_seconds: float


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A queued request, for display. `model`: the queue's main name; `seconds`: since it was queued."""

    model: str
    position: int
    ticket: Ticket
    seconds: float


@dataclass(eq=False, slots=True)
class _Waiter:
    ticket: Ticket
    select: Select
    check_ready: CheckReady
    assigned: asyncio.Future[WorkerPermit] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    queued_at: float = field(default_factory=time.monotonic)


class _Departures:
    """Moving average of the seconds between two departures."""

    def __init__(self) -> None:
        self.seconds_between = 0.0
        self._last = 0.0

    def begin(self) -> None:
        """Call when the queue is empty no more."""
        self._last = time.monotonic()

    def record(self) -> None:
        now = time.monotonic()
        since, self._last = now - self._last, now
        if not self.seconds_between:
            self.seconds_between = since
        self.seconds_between += _NEWEST_WEIGHT * (since - self.seconds_between)


class ModelQueue:
    """Fair queue of the requests for one model.

    A request passes straight through while a worker has room and no other is queued that could have it;
    otherwise it waits until `dispatch` assigns it a worker. `may_wait`: whether the frontend may hold one
    more queued request. `no_worker_timeout_seconds`: how long requests stay queued while the model has no
    worker at all.
    """

    def __init__(
        self,
        may_wait: Callable[[], bool],
        no_worker_timeout_seconds: float,
        long_prompts: LongPrompts = NO_LONG_PROMPTS,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._may_wait = may_wait
        self._on_change = on_change
        self._no_worker_timeout_seconds = no_worker_timeout_seconds
        self._long_prompts = long_prompts
        self._queue: FairQueue[_Waiter] = FairQueue()
        self._waiters: dict[_Waiter, None] = {}
        """All that are queued, the first one first."""
        self._estimator = WorkEstimator()
        self._departures = (_Departures(), _Departures())
        """Of short prompts and of long ones."""
        self._holds_long = False
        self._last_short = -_RESERVE_SECONDS

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def has_short(self) -> bool:
        """Whether short prompts wait or have come lately, so that places are kept for them."""
        return self._queue.short > 0 or time.monotonic() - self._last_short < _RESERVE_SECONDS

    def charge(self, request: EstimateRequest, cache_tokens: int = 0) -> Charge:
        """The charge of a request that will be queued here. Its owner settles it. `cache_tokens`: see
        WorkEstimator.
        """
        estimate = self._estimator.estimate(request)

        def settle(charge: Charge, work: Work, is_whole: bool) -> None:
            self._queue.settle(charge, work)
            if is_whole:
                self._estimator.learn(request, work, cache_tokens)

        return Charge(estimate, self._long_prompts.is_long(estimate), settle)

    async def acquire(
        self, ticket: Ticket, select: Select, check_ready: CheckReady
    ) -> tuple[WorkerPermit, QueueWait]:
        """Wait for a worker. A requeued request does not wait behind new ones and is never refused.

        Raises QueueFull, and NoWorkerReady from `check_ready`.
        """
        if not ticket.requeued:
            check_ready()
            if not ticket.is_long:
                self._last_short = time.monotonic()
        worker = select() if self._may_pass(ticket) else None
        if worker is not None:
            self._queue.charge(ticket)
            return worker.grant(ticket.long_tokens), QueueWait()
        if not (ticket.requeued or self._may_wait() or self._evict_for(ticket)):
            raise QueueFull()
        return await self._wait(_Waiter(ticket, select, check_ready))

    def dispatch(self) -> None:
        """Assign workers to queued requests, in turn, until no worker has room. Long prompts for which there
        is none do not keep short ones waiting.
        """
        self._holds_long = False
        while (waiter := self._queue.head(self._holds_long)) is not None:
            ticket = waiter.ticket
            worker = waiter.select()
            if worker is not None:
                self._queue.dequeue(waiter)
                waiter.assigned.set_result(worker.grant(ticket.long_tokens))
                self._departures[ticket.is_long].record()
            elif ticket.is_long and not ticket.requeued:
                self._holds_long = True
            else:
                return

    def locate(self, matches: Callable[[Ticket], bool]) -> QueuePosition | None:
        """Position of the first queued request that matches, and its expected wait, from the recent rate of
        departures of its kind.
        """
        found = self._queue.find(lambda waiter: matches(waiter.ticket))
        if found is None:
            return None
        short, long = self._queue.before(found)
        is_long = found.ticket.is_long
        of_its_kind = (long if is_long else short) + 1
        expected = self._departures[is_long].seconds_between * of_its_kind
        return QueuePosition(self._position(found), len(self._queue), expected)

    @property
    def oldest(self) -> float | None:
        """When the first of the queued requests came (time.monotonic); None without any."""
        first = next(iter(self._waiters), None)
        return None if first is None else first.queued_at

    def fail_all(self, error: DroverError) -> None:
        """End the wait of all queued requests with the error."""
        for waiter in list(self._waiters):
            if not waiter.assigned.done():
                # A worker that gets room before they run must not be given to them.
                self._queue.remove(waiter)
                # A new exception for each request: one that is raised twice would carry both tracebacks.
                waiter.assigned.set_exception(type(error)(error.message))

    def _is_loading(self, waiter: _Waiter) -> bool:
        try:
            return waiter.check_ready() is not None
        except NoWorkerReady:
            return False

    def first(self, limit: int) -> Iterator[tuple[Ticket, float]]:
        """The first `limit` queued requests in order, and for how many seconds each has waited."""
        now = time.monotonic()
        return ((waiter.ticket, now - waiter.queued_at) for waiter in self._queue.first(limit))

    def _may_pass(self, ticket: Ticket) -> bool:
        """Whether no queued request goes before this one to a worker with room. Long prompts that still wait
        when there is room are held back.
        """
        return ticket.requeued or not len(self._queue) or not (ticket.is_long or self._queue.short)

    def _position(self, waiter: _Waiter) -> int:
        short, long = self._queue.before(waiter)
        return 1 + short + (0 if self._holds_long and not waiter.ticket.is_long else long)

    def _evict_for(self, ticket: Ticket) -> bool:
        """Refuse the newest request of the client that has most queued, so that it cannot keep others out."""
        last = self._queue.eviction_candidate(ticket)
        if last is None:
            return False
        self._queue.remove(last)
        last.assigned.set_exception(QueueFull())
        return True

    async def _wait(self, waiter: _Waiter) -> tuple[WorkerPermit, QueueWait]:
        began, is_loading = waiter.queued_at, self._is_loading(waiter)
        if not len(self._queue):
            for departures in self._departures:
                departures.begin()
        self._queue.enqueue(waiter)
        position = self._position(waiter)
        self._waiters[waiter] = None
        if len(self._waiters) == 1:
            self._on_change()
        try:
            await self._until_assigned(waiter)
            seconds = time.monotonic() - began
            return waiter.assigned.result(), QueueWait(seconds, position, seconds if is_loading else 0.0)
        except BaseException:
            # Cancelled after a worker was assigned: give the permit back.
            if waiter.assigned.done() and waiter.assigned.exception() is None:
                waiter.assigned.result().release()
            raise
        finally:
            self._queue.remove(waiter)
            del self._waiters[waiter]
            if not self._waiters:
                self._on_change()

    async def _until_assigned(self, waiter: _Waiter) -> None:
        """Raises NoWorkerReady after `no_worker_timeout_seconds` without any worker, or after the time that a
        load may take.
        """
        last_ready = time.monotonic()
        while not waiter.assigned.done():
            await asyncio.wait({waiter.assigned}, timeout=_POLL_SECONDS)
            self.dispatch()
            try:
                load_seconds = waiter.check_ready()
                if load_seconds is None:
                    last_ready = time.monotonic()
                elif time.monotonic() - last_ready > load_seconds and not waiter.assigned.done():
                    raise DeadlineExceeded(
                        f"the model was not loaded within {load_seconds:g} s (--load-timeout-seconds of the "
                        "frontend), please try again"
                    )
            except NoWorkerReady:
                waited = time.monotonic() - last_ready
                if waited > self._no_worker_timeout_seconds and not waiter.assigned.done():
                    raise


class QueueTable:
    """The queues of all models. `max_waiting`: queued requests of this frontend, all models together."""

    def __init__(
        self,
        max_waiting: int,
        no_worker_timeout_seconds: float,
        long_prompts: LongPrompts = NO_LONG_PROMPTS,
    ) -> None:
        self._max_waiting = max_waiting
        self.long_prompts = long_prompts
        self.no_worker_timeout_seconds = no_worker_timeout_seconds
        self.on_change: Callable[[], None] = lambda: None
        """Called when a queue gets its first request, or loses its last one: not for each request."""
        self.load_seconds: Callable[[str], float | None] = lambda key: None
        """What is left of the load of the model with a key; None: it is loaded, or that is not known."""
        self._queues: dict[Kind, ModelQueue] = {}
        self._names: dict[Kind, str] = {}

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    @property
    def waiting_by_model(self) -> Mapping[str, int]:
        """Queued requests by each model's main name; models without any request so far are missing."""
        counts = Counter[str]()
        for kind, queue in self._queues.items():
            counts[self._names[kind]] += len(queue)
        return counts

    def first(self, limit: int) -> list[WaitingRequest]:
        """At most `limit` queued requests of all models: the heads of all queues, then those that follow."""
        found = [
            WaitingRequest(self._names[kind], position, ticket, seconds)
            for kind, queue in self._queues.items()
            for position, (ticket, seconds) in enumerate(queue.first(limit), start=1)
        ]
        return sorted(found, key=lambda waiting: waiting.position)[:limit]

    def queue(self, model: ServedModel) -> ModelQueue:
        """The queue in front of all workers that serve `model`."""
        kind = model.kind
        if kind not in self._queues:
            self._drop_empty()
            self._queues[kind] = ModelQueue(
                self._may_wait,
                self.no_worker_timeout_seconds,
                self.long_prompts,
                lambda: self.on_change(),
            )
            self._names[kind] = next(iter(model.info.names), "")
        return self._queues[kind]

    def dispatch(self) -> None:
        """Call whenever a worker may have more room than before."""
        for queue in list(self._queues.values()):
            queue.dispatch()

    def oldest(self) -> Mapping[Kind, tuple[int, float]]:
        """Of each queue with requests: how many, and when the first one came (time.monotonic)."""
        return {
            kind: (len(queue), queue.oldest)
            for kind, queue in self._queues.items()
            if queue.oldest is not None
        }

    def fail(self, kind: Kind, error: DroverError) -> None:
        """End the wait of all requests of one kind with the error."""
        if (queue := self._queues.get(kind)) is not None:
            queue.fail_all(error)

    def find(self, request_id: str, client: str) -> QueuePosition | None:
        """The queued request with this id, None if there is none.

        Clients choose ids, so several may use one: the asking client's own comes first, then anybody's, which
        is what a monitor asks for.
        """
        own = self._find(lambda ticket: ticket.request_id == request_id and ticket.client == client)
        return own or self._find(lambda ticket: ticket.request_id == request_id)

    def _find(self, matches: Callable[[Ticket], bool]) -> QueuePosition | None:
        for kind, queue in self._queues.items():
            if (found := queue.locate(matches)) is not None:
                left = self.load_seconds(kind[0])
                # Departures of a queue that waits for a load are as far apart as loads.
                return found if left is None else replace(found, expected_seconds=left)
        return None

    def _may_wait(self) -> bool:
        return self.waiting < self._max_waiting

    def _drop_empty(self) -> None:
        if len(self._queues) >= _MAX_QUEUES:
            self._queues = {kind: queue for kind, queue in self._queues.items() if len(queue)}
            self._names = {kind: name for kind, name in self._names.items() if kind in self._queues}
