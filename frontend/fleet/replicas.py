"""The workers of one model, as one request sees them."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace

from drover.errors import NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.admission.gate import Gate, Waited
from frontend.admission.queue import Ticket
from frontend.catalog.served import ServedModel
from frontend.fleet.base import WorkerHandle
from frontend.fleet.members import Member, Place
from frontend.fleet.membership import Membership


class Replicas:
    """Implements moving.request.Replicas and admission.gate.Seeker."""

    def __init__(
        self,
        model: ServedModel,
        membership: Membership,
        gate: Gate,
        ticket: Ticket,
        affinity: bytes | None = None,
    ) -> None:
        self._model = model
        self._membership = membership
        self._gate = gate
        self._ticket = ticket
        self._affinity = affinity
        self._failed: Mapping[Member, float] = {}

    def check(self) -> None:
        ready_for(self._model, self._membership)

    def choose(self) -> Member | None:
        """Rather none of those that failed under this request, nor one that has just failed others."""
        return self._membership.pool(self._model.kind).choose(self._failed, self._affinity)

    async def place(self, failed: Mapping[Member, float], must: bool) -> tuple[Place, Waited]:
        self._failed = failed
        if none_ever(ready_replicas(self._model, self._membership), failed):
            raise NoWorkerReady("no engine worker can take this request")
        ticket = replace(self._ticket, must=True) if must else self._ticket
        return await self._gate.enter(ticket, self)

    def send(self, member: Member, request: pb.GenerateRequest) -> WorkerHandle:
        """Each attempt has an id of its own."""
        request.request_id = new_attempt_id()
        request.priority = self._ticket.priority
        return member.worker.submit(request, self._ticket.request_id)


def ready_for(model: ServedModel, membership: Membership) -> Sequence[Member]:
    """Those that can take its requests. Raises NoWorkerReady when there is none."""
    able = ready_replicas(model, membership)
    if not able:
        raise NoWorkerReady(
            f"no engine worker for model '{model.name.short}' can be reached right now, please try again"
        )
    return able


def none_ever(members: Sequence[Member], failed: Mapping[Member, float]) -> bool:
    """Whether there are members, and none of them will ever take this request."""
    return bool(members) and all(failed.get(member) == math.inf for member in members)


def ready_replicas(model: ServedModel, membership: Membership) -> Sequence[Member]:
    return membership.pool(model.kind).ready


def new_attempt_id() -> str:
    return secrets.token_hex(16)
