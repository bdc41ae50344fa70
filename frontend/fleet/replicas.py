"""The workers of one model, as one request sees them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from drover.errors import NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.admission.gate import Gate, Waited
from frontend.admission.queue import Ticket
from frontend.catalog.served import ServedModel
from frontend.fleet.base import RequestHandle
from frontend.fleet.members import Member, Place
from frontend.fleet.membership import Membership
from frontend.fleet.picking.base import Policy


class Replicas:
    """Implements moving.request.Replicas and admission.gate.Seeker."""

    def __init__(
        self,
        model: ServedModel,
        membership: Membership,
        policy: Policy,
        gate: Gate,
        ticket: Ticket,
        affinity: bytes | None = None,
    ) -> None:
        self._model = model
        self._membership = membership
        self._policy = policy
        self._gate = gate
        self._ticket = ticket
        self._affinity = affinity
        self._avoid: frozenset[Member] = frozenset()

    def check(self) -> None:
        self.ready()

    def ready(self) -> Sequence[Member]:
        """Those that can take requests. Raises NoWorkerReady when there is none."""
        able = self._those_ready()
        if not able:
            raise NoWorkerReady(
                f"no engine worker for model '{self._model.name.short}' can be reached right now, "
                "please try again"
            )
        return able

    def choose(self) -> Member | None:
        """Rather none of those that failed under this request, nor one that has just failed others."""
        roomy = [member for member in self._those_ready() if member.has_room]
        fresh = [member for member in roomy if member not in self._avoid]
        sound = [member for member in fresh if not member.breaker.is_open]
        candidates = sound or fresh or roomy
        return self._policy.pick(candidates, self._affinity) if candidates else None

    async def place(self, avoid: frozenset[Member], must: bool) -> tuple[Place, Waited]:
        self._avoid = avoid
        ticket = replace(self._ticket, must=True) if must else self._ticket
        return await self._gate.enter(ticket, self)

    def has_other(self, member: Member) -> bool:
        return any(
            other is not member and (other.model is None or self._serves(other))
            for other in self._membership.members
        )

    def send(self, member: Member, request: pb.GenerateRequest) -> RequestHandle:
        """Each attempt has an id of its own."""
        request.request_id = new_attempt_id()
        return member.worker.submit(request, self._ticket.request_id)

    def _those_ready(self) -> list[Member]:
        return [member for member in self._membership.members if member.ready and self._serves(member)]

    def _serves(self, member: Member) -> bool:
        return member.model is not None and _can_replace(member.model, self._model.info)


def new_attempt_id() -> str:
    return secrets.token_hex(16)


def _can_replace(one: pb.Model, other: pb.Model) -> bool:
    """The same files may serve different tasks: one worker generates with them, another one embeds. And they
    may be another engine's, whose tokens are not these.
    """
    return (
        one.digest == other.digest
        and one.capabilities == other.capabilities
        and one.engine_kind == other.engine_kind
    )
