"""Worker selection: which worker gets the next attempt of a request, and when.

failover -> scheduler -> model_queue, registry
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from drover.errors import DroverError, NoWorkerReady, RetryElsewhere, RetryLater
from frontend.routing.capacity import WorkerPermit
from frontend.routing.fair_queue import Ticket
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.model_queue import HostLoad, QueueTable, QueueWait
from frontend.routing.policies.base import Policy, pick_one
from frontend.routing.policies.least_load import burden
from frontend.routing.pool import usable
from frontend.routing.registry import WorkerRegistry
from frontend.routing.served_model import ServedModel
from frontend.routing.ticket import Charge
from frontend.routing.work_estimate import EstimateRequest

_POLL_SECONDS = 0.1

Failures = Mapping[ManagedWorker, float]
"""Workers that failed under one request and when (time.monotonic); infinity: they never can serve it."""


class QueueObserver(Protocol):
    """Receives how a request waits for a worker."""

    def queued(self) -> None:
        """It asks for a worker; `waited` or `not_queued` follows, unless it is cancelled."""

    def waited(self, wait: QueueWait) -> None: ...

    def not_queued(self, error: DroverError) -> None: ...


class Scheduler:
    """Selects workers for requests.

    Generations and embeddings count against the workers' concurrency limits and queue for a permit
    (`acquire`); all other calls go to a worker at once (`pick`, `wait_for_other`).
    """

    def __init__(
        self,
        registry: WorkerRegistry,
        queues: QueueTable,
        policy: Policy,
        hosts: Hosts,
        load_timeout_seconds: float,
    ) -> None:
        self._registry = registry
        self._hosts = hosts
        self._load_timeout_seconds = load_timeout_seconds or math.inf
        self._queues = queues
        self._policy = policy

    def charge(self, model: ServedModel, request: EstimateRequest) -> Charge:
        """What a request is expected to cost its client. Its owner settles it."""
        return self._queues.queue(model).charge(request, self._registry.pool(model.kind).kv_tokens)

    async def acquire(
        self, model: ServedModel, ticket: Ticket, failed: Failures, affinity: bytes | None = None
    ) -> tuple[WorkerPermit, QueueWait]:
        """Queue for a worker of `model` that has room, preferably none of the `failed` ones.

        Raises RetryLater: QueueFull, or NoWorkerReady if no worker can take the request within
        `no_worker_timeout_seconds`.
        """
        if _is_hopeless(self.replicas(model), failed):
            raise NoWorkerReady("no engine worker can take this request")
        queue = self._queues.queue(model)

        def select() -> ManagedWorker | None:
            # What has begun does not wait for places that are kept for short prompts.
            if not ticket.is_long or ticket.requeued:
                return self.select(model, failed, affinity)
            pool = self._registry.pool(model.kind)
            return pool.choose_for_long(failed, affinity, ticket.long_tokens, queue.has_short)

        permit, wait = await queue.acquire(ticket, select, check_ready=lambda: self._check_ready(model))
        if wait.load_seconds:
            wait = replace(wait, load=self._load_of(permit.worker.address))
        return permit, wait

    async def acquire_observed(
        self,
        model: ServedModel,
        ticket: Ticket,
        failed: Failures,
        observer: QueueObserver,
        affinity: bytes | None = None,
    ) -> tuple[WorkerPermit, QueueWait]:
        """`acquire`, of which the observer learns."""
        observer.queued()
        try:
            permit, wait = await self.acquire(model, ticket, failed, affinity)
        except RetryLater as error:
            observer.not_queued(error)
            raise
        observer.waited(wait)
        return permit, wait

    def _load_of(self, address: str) -> HostLoad | None:
        found = self._hosts.child_at(address)
        return None if found is None else HostLoad(found[0].address, found[1].since_unix_ns)

    def _check_ready(self, model: ServedModel) -> float | None:
        if self.replicas(model):
            return None
        if self.may_load(model):
            return self._load_timeout_seconds
        self.require_ready(model)
        return None

    def select(
        self, model: ServedModel, failed: Failures, affinity: bytes | None = None
    ) -> ManagedWorker | None:
        """A worker with room, preferably none that failed under this request or whose breaker is open."""
        return self._registry.pool(model.kind).choose(failed, affinity)

    def pick(self, model: ServedModel) -> ManagedWorker:
        """A worker for a call that needs no permit: one with room, else the less loaded of two random ones.
        Raises NoWorkerReady.
        """
        ready = self.require_ready(model)
        return self.select(model, {}) or min(random.sample(ready, min(2, len(ready))), key=burden)

    async def wait_for_other(
        self, model: ServedModel, failed: Failures, error: RetryElsewhere
    ) -> ManagedWorker:
        """A worker for the next attempt of such a call: one that did not fail under it, or that has reported
        since. Raises `error` if none is ready in time.
        """
        deadline = time.monotonic() + self._queues.no_worker_timeout_seconds
        while not (able := usable(ready := self.replicas(model), failed)):
            if time.monotonic() > deadline or _is_hopeless(ready, failed):
                raise error
            await asyncio.sleep(_POLL_SECONDS)
        fresh = [worker for worker in able if worker not in failed]
        chosen = pick_one(self._policy, fresh or able, None)
        assert chosen is not None
        return chosen

    def replicas(self, model: ServedModel) -> Sequence[ManagedWorker]:
        """The ready workers of `model`, perhaps none."""
        return self._registry.pool(model.kind).ready

    def may_load(self, model: ServedModel) -> bool:
        """Whether a host can start a worker of `model`, or is away for a moment only."""
        key, moment = model.kind[0], self._queues.no_worker_timeout_seconds
        return self._hosts.can_load(key) or self._hosts.may_return(key, moment)

    def require_ready(self, model: ServedModel) -> Sequence[ManagedWorker]:
        """The ready workers of `model`. Raises NoWorkerReady, or why no host could start one."""
        ready = self.replicas(model)
        if not ready:
            if (failure := self._hosts.last_failure(model.kind[0])) is not None:
                raise failure
            raise NoWorkerReady(
                f"no engine worker for model '{model.name.short}' can be reached right now, please try again"
            )
        return ready


def _is_hopeless(workers: Sequence[ManagedWorker], failed: Failures) -> bool:
    """True if there are workers and each of them has failed lastingly under this request."""
    return bool(workers) and all(failed.get(worker) == math.inf for worker in workers)
