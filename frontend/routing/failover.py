"""Failover: attempts of one request on one worker after the other, which its client sees as one response."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from drover.durations import NS_PER_SECOND
from drover.errors import (
    AdapterMissing,
    DroverError,
    EngineStalled,
    NeverRetry,
    ProtocolBroken,
    QueueFull,
    RetryElsewhere,
    RetryLater,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.adapters import AdapterDelivery
from frontend.routing.backends.base import EventSink, WorkerHandle
from frontend.routing.backends.grpc.event_check import EventCheck
from frontend.routing.backends.unary_call import UnaryCall
from frontend.routing.capacity import WorkerPermit
from frontend.routing.event_relay import EventFilter, EventRelay
from frontend.routing.fair_queue import Ticket
from frontend.routing.journal import Journal
from frontend.routing.replay_filter import DeliveredText, ReplayFilter
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy, choose_resume_strategy
from frontend.routing.retry import RetryBudget, RetryPolicy, jitter
from frontend.routing.scheduler import QueueObserver, Scheduler
from frontend.routing.served_model import ServedModel
from frontend.routing.stalled_requests import StalledRequests
from frontend.routing.work import NO_WORK, work_of, work_until_now


class FailoverObserver(QueueObserver, Protocol):
    """Receives what happens to a request and its client does not see."""

    def sent_to(self, address: str) -> Mapping[str, str]:
        """An attempt begins. Returns its trace context, which its request carries to the worker; empty for a
        request that is not traced.
        """

    def ended(self, error: DroverError | None) -> None:
        """The attempt has ended, None: with a whole answer. Not called for one that is cancelled."""

    def retried(self, error: DroverError) -> None:
        """Nothing had been delivered yet: the request starts again."""

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None: ...

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None: ...

    def cut_off(self, prompt_tokens: int, cached_tokens: int, generated_tokens: int) -> None:
        """The response began and did not end; these tokens had arrived of it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Make an attempt with `request`. `filter_event` removes what the client already has from an event; None
    for the first attempt, of which it has nothing.
    """

    request: pb.GenerateRequest
    filter_event: EventFilter | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The request fails with `error`."""

    error: DroverError


class FailoverRequest:
    """Implements frontend.routing.backends.base.RequestHandle."""

    def __init__(
        self,
        request: pb.GenerateRequest,
        model: ServedModel,
        ticket: Ticket,
        affinity: bytes | None,
        scheduler: Scheduler,
        budget: RetryBudget,
        stalled: StalledRequests,
        observer: FailoverObserver,
        adapters: AdapterDelivery,
    ) -> None:
        self._adapters = adapters
        self._request = request
        self._model = model
        self._ticket = ticket
        self._affinity = affinity
        self._scheduler = scheduler
        self._retries = RetryPolicy(budget)
        self._stalled = stalled
        self._observer = observer
        self._strategy = choose_resume_strategy(request, model.info.capabilities)
        self._journal = Journal()
        self._delivered = DeliveredText() if self._strategy is ResumeStrategy.REGENERATE else None
        self._handle: WorkerHandle | None = None
        self._failure: RetryElsewhere | None = None
        self._stalls = 0
        self._produced_before = 0
        self._began_ns = 0
        self._first_ns = 0
        self._was_sent = False
        self._done: pb.Done | None = None
        self._load_ns = 0

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    async def deliver(self, sink: EventSink) -> None:
        """The client is charged once, for all attempts together, however the request ends."""
        try:
            await self._deliver(sink)
        except DroverError:
            self._settle(was_refused=True)
            raise
        finally:
            self._settle()
            if not (self._done or self._journal.is_empty):
                self._observer.cut_off(*self._journal.token_counts)

    async def _deliver(self, sink: EventSink) -> None:
        self._stalled.check(self._request)
        attempt = Retry(self._request)
        while True:
            permit = await self._acquire()
            error = await self._run(attempt, permit, sink)
            if error is None:
                return
            decision = self._decide(attempt, permit, error)
            if isinstance(decision, GiveUp):
                raise decision.error
            attempt = decision
            await jitter()

    async def _acquire(self) -> WorkerPermit:
        """Raises RetryLater; after a failed attempt that attempt's error instead, which explains more."""
        try:
            permit, wait = await self._scheduler.acquire_observed(
                self._model, self._ticket, self._retries.failed, self._observer, self._affinity
            )
        except RetryLater:
            if self._failure is None:
                raise
            raise self._failure from None
        self._load_ns += round(wait.load_seconds * NS_PER_SECOND)
        if not self._first_ns:
            self._began_ns = time.perf_counter_ns()
        if wait.position > 0:
            self._requeue()
        return permit

    async def _run(self, attempt: Retry, permit: WorkerPermit, sink: EventSink) -> DroverError | None:
        """Make one attempt and release its permit. Returns its error, None if the response is complete."""
        error: DroverError | None = None
        permit.request, permit.stalls = attempt.request, self._stalls
        calls = 0 if self._delivered is not None else self._journal.calls
        check = EventCheck(attempt.request, self._model.info.context_length, calls)
        relay = EventRelay(
            permit, check, self._journal, self._delivered, attempt.filter_event, sink, self._load_ns
        )
        try:
            await self._deliver_from(permit, attempt.request, relay)
            check.check_complete()
        except ProtocolBroken as broken:
            error = broken
            permit.broke_protocol(broken)
        except DroverError as failure:
            error = failure
        finally:
            self._done = relay.done
            permit.release(error)
        # The client has the whole response: what fails after `done` does not concern it.
        if relay.is_done and isinstance(error, RetryElsewhere | EngineStalled):
            error = None
        self._observer.ended(error)
        return error

    async def _deliver_from(
        self, permit: WorkerPermit, request: pb.GenerateRequest, relay: EventRelay
    ) -> None:
        """The worker gets the request's adapter first, once more if it has made room for others since it
        reported.
        """
        if not request.adapter:
            await self._submit_to(permit, request, relay)
            return
        await self._bring_adapter(permit, request.adapter)
        try:
            await self._submit_to(permit, request, relay)
        except AdapterMissing as missing:
            self._observer.ended(missing)
            await self._bring_adapter(permit, request.adapter, is_missing=True)
            await self._submit_to(permit, request, relay)

    async def _bring_adapter(self, permit: WorkerPermit, adapter: str, is_missing: bool = False) -> None:
        call = UnaryCall(self._adapters.ensure(adapter, permit.worker, is_missing))
        permit.handle = call
        await call.result()

    async def _submit_to(self, permit: WorkerPermit, request: pb.GenerateRequest, relay: EventRelay) -> None:
        """Each attempt has a new request id."""
        request.request_id = new_attempt_id()
        request.priority = self._ticket.priority
        if trace_context := self._observer.sent_to(permit.worker.address):
            request.trace_context.update(trace_context)
        handle = permit.worker.backend.submit(request, self._ticket.request_id)
        self._was_sent = True
        self._handle = permit.handle = handle
        try:
            await handle.deliver(relay)
        finally:
            handle.cancel()
            self._first_ns = self._first_ns or relay.first_ns

    def _decide(self, attempt: Retry, permit: WorkerPermit, error: DroverError) -> Retry | GiveUp:
        """Choose what follows an attempt that failed with `error`."""
        match error:
            case QueueFull() if not permit.is_answered:
                # The worker has less room than it reported, as other frontends were faster: queue again.
                return attempt
            case EngineStalled():
                if permit.is_only_suspect:
                    self._stalled.add(self._request)
                return GiveUp(error)
            case NeverRetry() if self._failure is not None and not self._journal.is_empty:
                # The worker refuses to resume a request that was valid: the first failure explains more.
                return GiveUp(self._failure)
            case RetryElsewhere():
                return self._fail_over(permit, error)
            case _:
                return GiveUp(error)

    def _fail_over(self, permit: WorkerPermit, error: RetryElsewhere) -> Retry | GiveUp:
        self._failure = error
        if len(self._journal.produced_ids) > self._produced_before:
            self._produced_before = len(self._journal.produced_ids)
            self._retries.reset()
        self._stalls += permit.saw_stall
        self._requeue()
        if not self._retries.allows_another(permit.worker, error):
            return GiveUp(error)
        if self._journal.is_empty:
            self._observer.retried(error)
            return Retry(self._request, self._without_started)
        if isinstance(self._strategy, NotResumable):
            self._observer.not_resumable(self._strategy, error)
            return GiveUp(error)
        self._observer.failed_over(self._strategy, error)
        if self._delivered is not None:
            return Retry(self._request, ReplayFilter(self._delivered, self._journal).strip_delivered)
        return Retry(self._continuation(), self._without_started)

    def _settle(self, was_refused: bool = False) -> None:
        """Charge the client what was done. `was_refused`: it ended with an error, and cost nothing unless it
        had begun.
        """
        charge = self._ticket.charge
        if charge is None:
            return
        started = self._journal.started
        if self._done is not None:
            work = work_of(self._done, started)
        elif started is not None:
            work = work_until_now(started, self._journal.token_counts[2], charge.estimate)
        elif was_refused or not self._was_sent:
            work = NO_WORK
        else:
            # The client left during the prefill, of which the engine may have done most.
            work = charge.estimate._replace(generated_tokens=0.0)
        charge.settle(work, is_whole=self._done is not None)

    def _requeue(self) -> None:
        """A request that has waited or begun goes before new ones."""
        if not self._ticket.requeued:
            self._ticket = replace(self._ticket, requeued=True)

    def _continuation(self) -> pb.GenerateRequest:
        request = pb.GenerateRequest()
        request.CopyFrom(self._request)
        request.continuation.CopyFrom(self._journal.continuation(self._timings()))
        return request

    def _without_started(self, event: pb.GenerateEvent) -> pb.GenerateEvent:
        """The client gets one `started` only."""
        if self._journal.started is not None:
            event.ClearField("started")
        return event

    def _timings(self) -> pb.Timings:
        """Timings of the attempts so far, measured here: the worker that measured them is lost."""
        first_ns = self._first_ns or time.perf_counter_ns()
        return pb.Timings(
            prefill_ns=max(1, first_ns - self._began_ns),
            decode_ns=max(1, time.perf_counter_ns() - first_ns),
        )


def new_attempt_id() -> str:
    return secrets.token_hex(16)
