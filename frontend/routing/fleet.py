"""The workers as one: what they serve, and who gets a request."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from drover.errors import DroverError, EngineStalled, NoWorkerReady, ProtocolBroken, QueueFull, RetryElsewhere
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import RequestHandle, Worker
from frontend.routing.backends.grpc.call import Call
from frontend.routing.backends.grpc.event_check import broken
from frontend.routing.discovery.base import Discovery
from frontend.routing.failover import FailoverRequest, Observer
from frontend.routing.fair_queue import Ticket
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.policies.affinity import affinity_of
from frontend.routing.policies.base import Policy, pick_one
from frontend.routing.policies.least_load import burden
from frontend.routing.pool import usable
from frontend.routing.registry import WorkerRegistry
from frontend.routing.replicas import Replicas, new_attempt_id, none_ever, ready_for, ready_replicas
from frontend.routing.retry import Attempts, RetryBudget, jitter
from frontend.routing.scheduler import Admission
from frontend.routing.served_model import ServedModel
from frontend.routing.stalled_requests import StalledRequests

_log = logging.getLogger("drover.fleet")
_LOOK_SECONDS = 0.1

Found = TypeVar("Found")
Able = Callable[[pb.Capabilities], bool]


def generates(can: pb.Capabilities) -> bool:
    return can.completion


def embeds(can: pb.Capabilities) -> bool:
    return can.embedding


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that at least one replica has in memory; `expires_unix_ns`: the latest of them, 0 for never."""

    model: ServedModel
    expires_unix_ns: int


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker as this frontend sees it. `model`: its main name; `requests`: this frontend's, there now."""

    address: str
    model: str
    ready: bool
    requests: int
    cache_hit_rate: float


class Fleet:
    """`connect`: makes a worker of an address; `stall_seconds`: see watchdog.py."""

    def __init__(
        self,
        discoveries: Sequence[Discovery],
        connect: Callable[[str], Worker],
        policy: Policy,
        admission: Admission,
        stall_seconds: float = 0.0,
    ) -> None:
        self._membership = WorkerRegistry(discoveries, connect, policy, admission.pump, stall_seconds)
        self._policy = policy
        self._retries = RetryBudget()
        self._stalled = StalledRequests()
        self.admission = admission
        self._found: dict[tuple[str, Able], ServedModel] = {}
        """Of names that workers serve, as of the membership's version `_found_at`."""
        self._found_at = -1

    async def start(self) -> None:
        self._membership.start()

    async def look_around(self, seconds: float) -> None:
        """Until it is known of every worker whether it is there, at most so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._membership.wait_known()

    async def stop(self) -> None:
        await self._membership.stop()

    @property
    def has_ready_worker(self) -> bool:
        return any(member.ready for member in self._members)

    def workers(self) -> Sequence[WorkerSeen]:
        return [
            WorkerSeen(
                member.address,
                member.model.names[0] if member.model and member.model.names else "",
                member.ready,
                member.requests,
                member.report.cache_hit_rate if member.report else 0.0,
            )
            for member in self._members
        ]

    def served(self) -> list[ServedModel]:
        """Every name once, newest model first, as lists show them."""
        models: dict[str, ServedModel] = {}
        for member in self._members:
            for model in member.served if member.ready else ():
                models.setdefault(model.name.key, model)
        return sorted(models.values(), key=lambda model: -model.info.modified_unix_ns)

    def find(self, name: ModelName, able: Able = generates) -> ServedModel | None:
        """Also a model whose workers are away. Where several have the name: one that is `able`, of those one
        that is here, of those the newest, so that all frontends take the same.

        Raises NoWorkerReady while no worker has ever answered.
        """
        if self._found_at != self._membership.version:
            self._found.clear()
            self._found_at = self._membership.version
        found = self._found.get((name.key, able))
        return found or self._look_for(name, able)

    def _look_for(self, name: ModelName, able: Able) -> ServedModel | None:
        known = [
            (
                able(model.info.capabilities),
                member.ready,
                model.info.modified_unix_ns,
                model.info.digest,
                model,
            )
            for member in self._members
            for model in member.served
            if model.name.key == name.key
        ]
        if known:
            best = self._found[name.key, able] = max(known, key=lambda each: each[:4])[4]
            return best
        if (gone := self._membership.remembered(name)) is not None:
            return gone
        if all(member.model is None for member in self._members):
            raise NoWorkerReady("no engine worker is ready yet, please try again")
        return None

    async def ask(
        self,
        model: ServedModel,
        question: Callable[[Worker], Awaitable[Found]],
        asked: Sequence[Message] = (),
    ) -> Found:
        """What is no generation, of one of the model's workers, and of the next one where that fails.
        `asked`: what of it a worker may stop at. Raises NoWorkerReady when there is none, EngineStalled.
        """
        self._retries.earn()
        attempts = Attempts(self._retries)
        self._stalled.check(*asked)
        member = self.pick(model)
        while True:
            call = Call(question(member.worker))
            try:
                return await member.ask(call)
            except EngineStalled:
                if call.is_only_suspect:
                    self._stalled.add(*asked)
                raise
            except RetryElsewhere as error:
                attempts.consider(member, error)
                await jitter()
                member = await self._next(model, attempts, error)

    def pick(self, model: ServedModel) -> ManagedWorker:
        """For what takes no request's place: one that has room, else the less loaded of two random ones.
        Raises NoWorkerReady.
        """
        ready = self._replicas(model)
        chosen = self._membership.pool(model.kind).choose({}, None)
        return chosen or min(random.sample(ready, min(2, len(ready))), key=burden)

    async def _next(self, model: ServedModel, attempts: Attempts, error: RetryElsewhere) -> ManagedWorker:
        """Waits for one that can take it. Raises the error when none comes in time."""
        deadline = time.monotonic() + self.admission.patience_seconds
        while not (able := usable(ready := ready_replicas(model, self._membership), attempts.failed)):
            if time.monotonic() > deadline or none_ever(ready, attempts.failed):
                raise error
            await asyncio.sleep(_LOOK_SECONDS)
        fresh = [member for member in able if member not in attempts.failed]
        chosen = pick_one(self._policy, fresh or able, None)
        assert chosen is not None
        return chosen

    def submit(
        self, model: ServedModel, request: pb.GenerateRequest, ticket: Ticket, observer: Observer
    ) -> RequestHandle:
        """A request that waits for its turn and outlives its workers."""
        self._retries.earn()
        replicas = self._wanted(model, ticket, affinity_of(request, model.info.digest))
        return FailoverRequest(request, model.info, replicas, self._retries, self._stalled, observer)

    def loaded(self) -> list[LoadedModel]:
        """Under every name, the latest expiry first."""
        return sorted(
            (
                LoadedModel(model, expiry)
                for model in self.served()
                if (expiry := self._expiry(model)) is not None
            ),
            key=lambda loaded: (loaded.expires_unix_ns != 0, -loaded.expires_unix_ns),
        )

    async def load(self, model: ServedModel, request: pb.LoadRequest) -> None:
        """On every replica that can be reached. Raises what the last one says when none of them could."""
        await any_of(member.bring_in(request) for member in self._replicas(model))

    async def unload(self, model: ServedModel) -> None:
        """On every replica that can be reached."""
        await any_of(member.unload() for member in self._replicas(model))

    async def embed(
        self, model: ServedModel, request: pb.EmbedRequest, ticket: Ticket, observer: Observer
    ) -> pb.EmbedResponse:
        """In its turn, and on the next worker where one fails under it. Raises EngineStalled where a worker
        has stopped under it.
        """
        self._retries.earn()
        replicas = self._wanted(model, ticket)
        attempts = Attempts(self._retries)
        had_its_turn = False
        self._stalled.check(request)
        while True:
            place, waited = await replicas.place(attempts.failed, had_its_turn)
            had_its_turn = had_its_turn or waited.position > 0
            observer.waited(waited)
            observer.sent_to(place.member.address)
            request.request_id = new_attempt_id()
            failure: DroverError | None = None
            call = Call(place.member.worker.embed(request, ticket.request_id))
            place.handle = call
            try:
                response = await call.answer()
                _check_embeddings(response, request)
                place.answers()
                return response
            except QueueFull as error:
                failure = error
            except EngineStalled:
                if place.is_only_suspect:
                    self._stalled.add(request)
                raise
            except RetryElsewhere as error:
                failure = error
                if isinstance(error, ProtocolBroken):
                    place.broke_protocol(error)
                had_its_turn = True
                attempts.consider(place.member, error)
                observer.retried(error)
            finally:
                place.leave(failure)
            await jitter()

    def _wanted(self, model: ServedModel, ticket: Ticket, affinity: bytes | None = None) -> Replicas:
        gate = self.admission.gate(model)
        return Replicas(model, self._membership, gate, ticket, affinity)

    @property
    def _members(self) -> Sequence[ManagedWorker]:
        return self._membership.members

    def _replicas(self, model: ServedModel) -> Sequence[ManagedWorker]:
        return ready_for(model, self._membership)

    def _expiry(self, model: ServedModel) -> int | None:
        """None where no replica has the model in memory."""
        reports = [member.report for member in self._replicas(model)]
        expiries = [report.expires_unix_ns for report in reports if report is not None and report.loaded]
        return None if not expiries else 0 if 0 in expiries else max(expiries)


def _check_embeddings(response: pb.EmbedResponse, request: pb.EmbedRequest) -> None:
    if len(response.embeddings) != len(request.texts):
        raise broken(f"{len(response.embeddings)} embeddings of {len(request.texts)} texts")


async def any_of(calls: Iterable[Awaitable[object]]) -> None:
    """All at the same time; one success is enough, since a worker that is away has nothing in memory."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, DroverError):
            raise failure
        _log.warning("one of %d replicas: %s", len(results), failure.message)
    if len(failures) == len(results):
        raise failures[-1]
