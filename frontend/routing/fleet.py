"""The fleet: the workers as one server. What they serve, and where their requests are sent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from google.protobuf.message import Message

from drover.errors import DroverError, EngineStalled, NoWorkerReady, RetryElsewhere
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.adapters import AdapterDelivery
from frontend.routing.backends.base import RequestHandle, Worker
from frontend.routing.backends.unary_call import UnaryCall
from frontend.routing.discovery.base import Discovery
from frontend.routing.failover import FailoverObserver, FailoverRequest
from frontend.routing.fair_queue import Ticket
from frontend.routing.hosts.hosts import Hosts, Waiting
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.affinity import affinity_of, affinity_of_scores
from frontend.routing.policies.base import Policy
from frontend.routing.queued_call import CLASSIFY, EMBED, RERANK, SCORE, QueuedCalls
from frontend.routing.registry import WorkerRegistry
from frontend.routing.replicas import Replicas, wait_for_any
from frontend.routing.retry import RetryBudget, RetryPolicy, jitter
from frontend.routing.scheduler import QueueObserver, Scheduler
from frontend.routing.served_model import ServedModel
from frontend.routing.stalled_requests import StalledRequests
from frontend.routing.work import size_of_generation
from frontend.routing.work_estimate import EstimateRequest

_log = logging.getLogger("drover.fleet")

Response = TypeVar("Response")
CapabilityCheck = Callable[[pb.Capabilities], bool]


def can_generate(can: pb.Capabilities) -> bool:
    return can.completion


def can_embed(can: pb.Capabilities) -> bool:
    return can.embedding


def can_rerank(can: pb.Capabilities) -> bool:
    return can.rerank


def can_classify(can: pb.Capabilities) -> bool:
    return can.classify


@dataclass(frozen=True, slots=True)
class LoadedReplica:
    """`host`: the address of the worker host that started it; empty for a worker of the operator's own.
    `expires_unix_ns`: 0 for never.
    """

    host: str
    expires_unix_ns: int


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that at least one replica has loaded. `expires_unix_ns`: the latest of theirs, 0 for never.
    `replicas`: those that have it in memory; none are named of a virtual model.
    """

    model: ServedModel
    expires_unix_ns: int
    replicas: Sequence[LoadedReplica] = ()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A worker as this frontend sees it. `model`: its main name; `requests`: this frontend's there; `info`:
    None before its first answer; `report`: its last one, None while it is away.
    """

    address: str
    model: str
    ready: bool
    requests: int
    cache_hit_rate: float
    info: pb.Model | None
    report: pb.LoadReport | None
    is_stalled: bool
    is_avoided: bool
    """Its circuit breaker is open."""


class Fleet:
    """`connect`: makes a backend for an address; `stall_seconds`: see stall_detector.py.
    `load_timeout_seconds`: how long a request may wait for a host to load its model; 0: no limit.
    """

    def __init__(
        self,
        discoveries: Sequence[Discovery],
        connect: Callable[[str], Worker],
        policy: Policy,
        queues: QueueTable,
        stall_seconds: float = 0.0,
        hosts: Hosts | None = None,
        load_timeout_seconds: float = 0.0,
    ) -> None:
        self.hosts = hosts or Hosts([])
        found = [*discoveries, self.hosts] if hosts is not None else discoveries
        self._registry = WorkerRegistry(
            found, connect, policy, queues.dispatch, stall_seconds, queues.long_prompts
        )
        self._scheduler = Scheduler(self._registry, queues, policy, self.hosts, load_timeout_seconds)
        self.hosts.waiting, self.hosts.fail = self._waiting_for_hosts, self._fail_waiting
        queues.on_change, queues.load_seconds = self.hosts.on_queue_change, self.hosts.load_seconds
        self._budget = RetryBudget()
        self._replicas = Replicas(self._scheduler, self.hosts)
        self._stalled = StalledRequests()
        self.adapters = AdapterDelivery()
        self._calls = QueuedCalls(self._scheduler, self._budget, self._stalled, self.adapters)
        self.queues = queues
        self._found: dict[tuple[str, CapabilityCheck], ServedModel] = {}
        """Cache of `find`, valid for the registry's version `_found_at`."""
        self._found_at = -1

    async def start(self) -> None:
        self.hosts.start()
        self._registry.start()

    async def wait_for_workers(self, seconds: float) -> None:
        """Wait until every worker has answered or failed once, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.hosts.wait_known()
                await self._registry.wait_known()

    async def stop(self) -> None:
        await self.adapters.stop()
        await self.hosts.stop()
        await self._registry.stop()

    @property
    def has_ready_worker(self) -> bool:
        """Or one that a host can start."""
        return self.hosts.any_ready or any(worker.ready for worker in self._workers)

    @property
    def takes_requests(self) -> bool:
        """Whether some requests are served now, or wait for a host that is away for a moment."""
        return self.has_ready_worker or self.hosts.any_may_return(self.queues.no_worker_timeout_seconds)

    def workers(self) -> Sequence[WorkerStatus]:
        return [
            WorkerStatus(
                worker.address,
                worker.model.names[0] if worker.model and worker.model.names else "",
                worker.ready,
                worker.requests,
                worker.report.cache_hit_rate if worker.report else 0.0,
                worker.model,
                worker.report,
                worker.is_stalled,
                worker.breaker.is_open,
            )
            for worker in self._workers
        ]

    def served(self, capable: CapabilityCheck = lambda can: True) -> list[ServedModel]:
        """The models of ready workers and of hosts' stores that are `capable`, each name once, the newest
        first.
        """
        models: dict[str, ServedModel] = {}
        for model in (*self.hosts.stored(), *self._served_now()):
            if capable(model.info.capabilities):
                models.setdefault(model.name.key, model)
        return sorted(models.values(), key=lambda model: -model.info.modified_unix_ns)

    def _served_now(self) -> Iterator[ServedModel]:
        for worker in self._workers:
            if worker.ready:
                yield from filter(self._is_current, worker.served)

    def _is_current(self, model: ServedModel) -> bool:
        """False for what a host's worker serves and the stores do not have under that name any more."""
        if not model.info.manifest or not self.hosts.are_configured:
            return True
        stored = self.hosts.find(model.name.key)
        return stored is not None and stored.info.manifest == model.info.manifest

    def named_adapters(self) -> Iterator[tuple[ServedModel, pb.NamedAdapter]]:
        """The operator's adapters, each with the model that it changes: of the ready workers first, then of
        those that are away.
        """
        for worker in sorted(self._workers, key=lambda worker: not worker.ready):
            for base in worker.served[:1]:
                for named in base.info.named_adapters:
                    yield base, named

    def find(self, name: ModelName, capable: CapabilityCheck = can_generate) -> ServedModel | None:
        """The model of this name, also while its workers are away; None if it is unknown. If several have the
        name: one that is `capable`, of those one with a ready worker, of those the newest, so that all
        frontends choose the same.

        Raises NoWorkerReady while no worker and no host has answered yet.
        """
        if self._found_at != self._registry.version + self.hosts.version:
            self._found.clear()
            self._found_at = self._registry.version + self.hosts.version
        found = self._found.get((name.key, capable))
        return found or self._find_among_workers(name, capable)

    def _find_among_workers(self, name: ModelName, capable: CapabilityCheck) -> ServedModel | None:
        known = [
            (
                capable(model.info.capabilities),
                worker.ready,
                model.info.modified_unix_ns,
                model.info.digest,
                model,
            )
            for worker in self._workers
            for model in worker.served
            if model.name.key == name.key and self._is_current(model)
        ]
        if (stored := self.hosts.find(name.key)) is not None:
            info = stored.info
            known.append((capable(info.capabilities), False, info.modified_unix_ns, info.digest, stored))
        if known:
            best = max(known, key=lambda each: each[:4])[4]
            if stored is not None and stored.kind == best.kind:
                # Its digest and size are those of the manifest.
                best = stored
                if not self.hosts.is_listed(name.key):
                    # Of a host that is forgotten after a while, which changes no version.
                    return best
            self._found[name.key, capable] = best
            return best
        removed = self._registry.recently_removed(name)
        if removed is not None and self._is_current(removed):
            return removed
        if not self.hosts.any_has_answered and all(worker.model is None for worker in self._workers):
            raise NoWorkerReady("no engine worker is ready yet, please try again")
        return None

    async def call(
        self,
        model: ServedModel,
        rpc: Callable[[Worker], Awaitable[Response]],
        identity: Sequence[Message] = (),
    ) -> Response:
        """Make a call that is no generation at one of the model's workers, and at another one if that fails.

        `identity`: the messages by which the call is known again after a worker stalled under it. Raises
        NoWorkerReady if no worker is ready, EngineStalled if one stalls under this call, or did before.
        """
        self._budget.earn()
        retries = RetryPolicy(self._budget)
        self._stalled.check(*identity)
        await self._replicas.until_loaded(model)
        worker = self._scheduler.pick(model)
        while True:
            call = UnaryCall(rpc(worker.backend))
            try:
                return await worker.call(call)
            except EngineStalled:
                if call.is_only_suspect:
                    self._stalled.add(*identity)
                raise
            except RetryElsewhere as error:
                if not retries.allows_another(worker, error):
                    raise
                await jitter()
                if await self._replicas.have_ended(model, [worker], error):
                    await self._replicas.until_loaded(model)
                worker = await self._scheduler.wait_for_other(model, retries.failed, error)

    def submit(
        self, model: ServedModel, request: pb.GenerateRequest, ticket: Ticket, observer: FailoverObserver
    ) -> RequestHandle:
        """A generation. It waits in the model's queue and fails over if its worker is lost."""
        self._budget.earn()
        affinity = affinity_of(request, model.info.digest)
        sampling = request.sampling
        asked = EstimateRequest(
            ticket.client,
            size_of_generation(request),
            affinity,
            sampling.max_tokens if sampling.HasField("max_tokens") else None,
            model.info.context_length,
        )
        return FailoverRequest(
            request,
            model,
            replace(ticket, charge=self._scheduler.charge(model, asked)),
            affinity,
            self._scheduler,
            self._budget,
            self._stalled,
            observer,
            self.adapters,
        )

    async def place_adapter(self, model: ServedModel, digest: str) -> None:
        """Give an adapter to every replica that can be reached, after a host has started one if there is
        none. Raises InvalidRequest if it does not fit the model, NoWorkerReady.
        """
        await self._replicas.use(model, lambda workers: self.adapters.place(digest, workers))

    async def remove_adapter(self, digest: str) -> None:
        """Let all workers forget an adapter."""
        await self.adapters.remove(digest, self._workers)

    def loaded(self) -> list[LoadedModel]:
        """Loaded models under each of their names, the latest expiry first."""
        return sorted(
            (
                LoadedModel(model, latest_expiry(each.expires_unix_ns for each in replicas), replicas)
                for model in self.served()
                if (replicas := self._loaded_replicas(model))
            ),
            key=lambda loaded: (loaded.expires_unix_ns != 0, -loaded.expires_unix_ns),
        )

    async def load(
        self, model: ServedModel, request: pb.LoadRequest, observer: QueueObserver | None = None
    ) -> None:
        """Load the model on every replica that can be reached, by a host if there is none. Raises the last
        one's error if all fail.
        """
        await self._replicas.use(
            model, lambda workers: wait_for_any(worker.load_model(request) for worker in workers), observer
        )

    async def unload(self, model: ServedModel) -> None:
        """Unload the model on every replica that can be reached. Raises as `load`."""
        await self._replicas.unload(model)

    def _waiting_for_hosts(self) -> Mapping[str, Waiting]:
        """The queues of models in hosts' stores, by the models' keys."""
        now = time.monotonic()
        return {
            kind[0]: Waiting(requests, now - since, len(self._registry.pool(kind).ready))
            for kind, (requests, since) in self.queues.oldest().items()
            if self.hosts.has(kind[0])
        }

    def _fail_waiting(self, key: str, error: DroverError) -> None:
        """Unless workers serve it: then only a second replica could not be loaded."""
        kind = key, "", b""
        if not self._registry.pool(kind).ready:
            self.queues.fail(kind, error)

    async def embed(
        self, model: ServedModel, request: pb.EmbedRequest, ticket: Ticket, observer: FailoverObserver
    ) -> pb.EmbedResponse:
        return await self._calls.run(EMBED, model, request, ticket, observer)

    async def score(
        self, model: ServedModel, request: pb.ScoreRequest, ticket: Ticket, observer: FailoverObserver
    ) -> pb.ScoreResponse:
        affinity = affinity_of_scores(request, model.info.digest)
        return await self._calls.run(SCORE, model, request, ticket, observer, affinity)

    async def rerank(
        self, model: ServedModel, request: pb.RerankRequest, ticket: Ticket, observer: FailoverObserver
    ) -> pb.RerankResponse:
        return await self._calls.run(RERANK, model, request, ticket, observer)

    async def classify(
        self, model: ServedModel, request: pb.ClassifyRequest, ticket: Ticket, observer: FailoverObserver
    ) -> pb.ClassifyResponse:
        return await self._calls.run(CLASSIFY, model, request, ticket, observer)

    @property
    def _workers(self) -> Sequence[ManagedWorker]:
        return self._registry.workers

    def _loaded_replicas(self, model: ServedModel) -> Sequence[LoadedReplica]:
        return [
            LoadedReplica(self.hosts.host_of(worker.address), worker.report.expires_unix_ns)
            for worker in self._scheduler.replicas(model)
            if worker.report is not None and worker.report.loaded
        ]


def latest_expiry(times: Iterable[int]) -> int:
    """In unix time; 0, which stands for never, is later than any."""
    known = list(times)
    return 0 if 0 in known else max(known)
