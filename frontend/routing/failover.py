"""One request, on as many workers one after the other as it takes: its client sees one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from drover.errors import (
    DroverError,
    EngineStalled,
    NeverRetry,
    ProtocolBroken,
    QueueFull,
    RetryElsewhere,
    RetryLater,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Take, WorkerHandle
from frontend.routing.backends.grpc.event_check import AnswerCheck
from frontend.routing.event_relay import EventRelay, Unsaid
from frontend.routing.journal import Journal
from frontend.routing.managed_worker import ManagedWorker, WorkerPermit
from frontend.routing.replay_filter import DeliveredText, ReplayFilter
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy, choose_resume_strategy
from frontend.routing.retry import Attempts, RetryBudget, jitter
from frontend.routing.scheduler import Waited
from frontend.routing.stalled_requests import StalledRequests


class Replicas(Protocol):
    """Workers of the request's model."""

    async def place(self, failed: Mapping[ManagedWorker, float], must: bool) -> tuple[WorkerPermit, Waited]:
        """At one that takes it, rather none of those that `failed` under it, and when (time.monotonic); waits
        for room, and for a worker to come back. `must`: before those that have not begun. Raises RetryLater.
        """

    def send(self, member: ManagedWorker, request: pb.GenerateRequest) -> WorkerHandle: ...


class Observer(Protocol):
    """Hears of what a client does not see."""

    def waited(self, waited: Waited) -> None: ...

    def sent_to(self, address: str) -> None: ...

    def retried(self, error: DroverError) -> None: ...

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None: ...

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None: ...


class FailoverRequest:
    """Implements frontend.routing.backends.base.RequestHandle. `model`: what all replicas serve."""

    def __init__(
        self,
        request: pb.GenerateRequest,
        model: pb.Model,
        replicas: Replicas,
        retries: RetryBudget,
        stalled: StalledRequests,
        observer: Observer,
    ) -> None:
        self._request = request
        self._stalled = stalled
        self._replicas = replicas
        self._observer = observer
        self._context_length = model.context_length
        self._way_on = choose_resume_strategy(request, model.capabilities)
        self._journal = Journal()
        self._told = DeliveredText() if self._way_on is ResumeStrategy.REGENERATE else None
        self._handle: WorkerHandle | None = None
        self._attempts = Attempts(retries)
        self._stalls = 0
        self._produced_before = 0
        self._had_its_turn = False
        self._is_answered = False
        self._began_ns = 0
        self._first_ns = 0
        self._is_done = False

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    async def deliver(self, take: Take) -> None:
        attempt = self._request
        unsaid: Unsaid | None = None
        failure: DroverError | None = None
        self._stalled.check(self._request)
        while True:
            place = await self._place(failure)
            try:
                await self._attempt(place, attempt, unsaid, take)
                return
            except RetryElsewhere as error:
                if self._is_done:
                    return
                failure = error
            except QueueFull:
                if self._is_answered:
                    raise
                # It has less room than it said, since other frontends were faster: the queue again.
                await jitter()
                continue
            except EngineStalled:
                if self._is_done:
                    return
                if place.is_only_suspect:
                    self._stalled.add(self._request)
                raise
            except NeverRetry:
                # Of an attempt to go on: the client's request was good enough to begin with.
                if failure is None or self._journal.is_empty:
                    raise
                raise failure from None
            self._consider(place, failure)
            attempt, unsaid = self._next_attempt(failure)
            await jitter()

    async def _place(self, failure: DroverError | None) -> WorkerPermit:
        try:
            place, waited = await self._replicas.place(self._attempts.failed, must=self._had_its_turn)
        except RetryLater:
            if failure is None:
                raise
            raise failure from None
        self._observer.waited(waited)
        if not self._first_ns:
            self._began_ns = time.perf_counter_ns()
        self._had_its_turn = self._had_its_turn or waited.position > 0
        return place

    async def _attempt(
        self, place: WorkerPermit, request: pb.GenerateRequest, unsaid: Unsaid | None, take: Take
    ) -> None:
        """The worker's place is free again and its breaker knows, however it ends."""
        failure: DroverError | None = None
        self._is_answered = False
        place.request, place.stalls = request, self._stalls
        calls = 0 if self._told is not None else self._journal.calls
        check = AnswerCheck(request, self._context_length, calls)
        passing = EventRelay(place, check, self._journal, self._told, unsaid, take)
        try:
            self._observer.sent_to(place.member.address)
            handle = self._handle = place.handle = self._replicas.send(place.member, request)
            try:
                await handle.deliver(passing)
                check.ended()
            finally:
                handle.cancel()
                self._is_answered, self._is_done = passing.is_answered, passing.is_done
                self._first_ns = self._first_ns or passing.first_ns
        except ProtocolBroken as error:
            failure = error
            place.broke_protocol(error)
            raise
        except DroverError as error:
            failure = error
            raise
        finally:
            place.leave(failure)

    def _consider(self, place: WorkerPermit, error: RetryElsewhere) -> None:
        """Raises the error where another attempt is out of the question."""
        if len(self._journal.produced_ids) > self._produced_before:
            self._produced_before = len(self._journal.produced_ids)
            self._attempts.begin_anew()
        self._stalls += place.saw_stall
        self._had_its_turn = True
        self._attempts.consider(place.member, error)

    def _next_attempt(self, error: DroverError) -> tuple[pb.GenerateRequest, Unsaid]:
        """The request to send now, and what of its events the client has not had."""
        if self._journal.is_empty:
            self._observer.retried(error)
            return self._request, self._without_beginning
        if isinstance(self._way_on, NotResumable):
            self._observer.not_resumable(self._way_on, error)
            raise error
        self._observer.failed_over(self._way_on, error)
        if self._told is not None:
            return self._request, ReplayFilter(self._told, self._journal).rest
        request = pb.GenerateRequest()
        request.CopyFrom(self._request)
        request.continuation.CopyFrom(self._journal.continuation(self._timings()))
        return request, self._without_beginning

    def _without_beginning(self, event: pb.GenerateEvent) -> pb.GenerateEvent:
        """An answer begins once."""
        if self._journal.started is not None:
            event.ClearField("started")
        return event

    def _timings(self) -> pb.Timings:
        """As this side saw them: the worker that knew better is gone."""
        first_ns = self._first_ns or time.perf_counter_ns()
        return pb.Timings(
            prefill_ns=max(1, first_ns - self._began_ns),
            decode_ns=max(1, time.perf_counter_ns() - first_ns),
        )
