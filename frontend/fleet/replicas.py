"""The workers of one model, as one request sees them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from drover.errors import NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.catalog.served import ServedModel
from frontend.fleet.base import RequestHandle
from frontend.fleet.members import Member
from frontend.fleet.membership import Membership
from frontend.fleet.picking.base import Policy

_LOOK_SECONDS = 0.05
_NOBODY: frozenset[Member] = frozenset()


class Replicas:
    """Implements moving.request.Replicas."""

    def __init__(
        self,
        model: ServedModel,
        membership: Membership,
        policy: Policy,
        wait_seconds: float,
        affinity: bytes | None = None,
        client_request_id: str = "",
    ) -> None:
        self._model = model
        self._membership = membership
        self._policy = policy
        self._wait_seconds = wait_seconds
        self._affinity = affinity
        self._client_request_id = client_request_id

    def ready(self) -> Sequence[Member]:
        """Those that can take requests. Raises NoWorkerReady when there is none."""
        able = [member for member in self._membership.members if member.ready and self._serves(member)]
        if not able:
            raise NoWorkerReady(
                f"no engine worker for model '{self._model.name.short}' can be reached right now, "
                "please try again"
            )
        return able

    def pick(self, avoid: frozenset[Member] = _NOBODY) -> Member:
        """Rather none of `avoid`, nor one that has just failed. Raises NoWorkerReady."""
        ready = self.ready()
        fresh = [member for member in ready if member not in avoid]
        sound = [member for member in fresh if not member.breaker.is_open]
        return self._policy.pick(sound or fresh or ready, self._affinity)

    async def place(self, avoid: frozenset[Member]) -> Member:
        if not avoid:
            return self.pick()
        try:
            async with asyncio.timeout(self._wait_seconds):
                # What is waited for is another process; there is no event to wait on, only reports.
                while not self._any_ready():  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            pass
        return self.pick(avoid)

    def has_other(self, member: Member) -> bool:
        return any(
            other is not member and (other.model is None or self._serves(other))
            for other in self._membership.members
        )

    def has_another_ready(self, avoid: frozenset[Member]) -> bool:
        return any(
            member.ready and self._serves(member) and member not in avoid
            for member in self._membership.members
        )

    def send(self, member: Member, request: pb.GenerateRequest) -> RequestHandle:
        """Each attempt has an id of its own."""
        request.request_id = new_attempt_id()
        return member.worker.submit(request, self._client_request_id)

    def _any_ready(self) -> bool:
        return any(member.ready and self._serves(member) for member in self._membership.members)

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
