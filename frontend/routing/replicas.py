"""The workers of one model, as one request sees them."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from drover.errors import NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import WorkerHandle
from frontend.routing.fair_queue import Ticket
from frontend.routing.managed_worker import ManagedWorker, WorkerPermit
from frontend.routing.registry import WorkerRegistry
from frontend.routing.scheduler import ModelQueue, Waited
from frontend.routing.served_model import ServedModel


class Replicas:
    """Implements moving.request.Replicas and admission.gate.WorkerSelector."""

    def __init__(
        self,
        model: ServedModel,
        membership: WorkerRegistry,
        gate: ModelQueue,
        ticket: Ticket,
        affinity: bytes | None = None,
    ) -> None:
        self._model = model
        self._membership = membership
        self._gate = gate
        self._ticket = ticket
        self._affinity = affinity
        self._failed: Mapping[ManagedWorker, float] = {}

    def check(self) -> None:
        ready_for(self._model, self._membership)

    def choose(self) -> ManagedWorker | None:
        """Rather none of those that failed under this request, nor one that has just failed others."""
        return self._membership.pool(self._model.kind).choose(self._failed, self._affinity)

    async def place(self, failed: Mapping[ManagedWorker, float], must: bool) -> tuple[WorkerPermit, Waited]:
        self._failed = failed
        if none_ever(ready_replicas(self._model, self._membership), failed):
            raise NoWorkerReady("no engine worker can take this request")
        ticket = replace(self._ticket, must=True) if must else self._ticket
        return await self._gate.enter(ticket, self)

    def send(self, member: ManagedWorker, request: pb.GenerateRequest) -> WorkerHandle:
        """Each attempt has an id of its own."""
        request.request_id = new_attempt_id()
        request.priority = self._ticket.priority
        return member.worker.submit(request, self._ticket.request_id)


def ready_for(model: ServedModel, membership: WorkerRegistry) -> Sequence[ManagedWorker]:
    """Those that can take its requests. Raises NoWorkerReady when there is none."""
    able = ready_replicas(model, membership)
    if not able:
        raise NoWorkerReady(
            f"no engine worker for model '{model.name.short}' can be reached right now, please try again"
        )
    return able


def none_ever(members: Sequence[ManagedWorker], failed: Mapping[ManagedWorker, float]) -> bool:
    """Whether there are members, and none of them will ever take this request."""
    return bool(members) and all(failed.get(member) == math.inf for member in members)


def ready_replicas(model: ServedModel, membership: WorkerRegistry) -> Sequence[ManagedWorker]:
    return membership.pool(model.kind).ready


def new_attempt_id() -> str:
    return secrets.token_hex(16)
