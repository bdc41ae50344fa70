"""The workers that can replace each other, updated as each one changes: no request looks at all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.policies.base import Policy, pick_one
from frontend.routing.served_model import Kind


class Pool:
    """`ready`: those that take requests, until one of them does not any more or another one does; then
    another pool takes this one's place.
    """

    def __init__(self, members: Iterable[ManagedWorker], kind: Kind, policy: Policy) -> None:
        self.ready = tuple(member for member in members if member.ready and member.kind == kind)
        self._policy = policy
        self._known = frozenset(self.ready)
        # Where this frontend may send one more now, and of these, those whose breaker may be open.
        self._roomy: dict[ManagedWorker, None] = {}
        self._failing: dict[ManagedWorker, None] = {}
        # Of the roomy ones, those whose breaker was not open when it was looked at last.
        self._choices = policy.choices(self.ready)
        for member in self.ready:
            self.update(member)

    def update(self, member: ManagedWorker) -> None:
        """Its load, its room or its breaker has changed."""
        if member not in self._known:
            return
        self._failing.pop(member, None)
        if not member.has_room:
            self._roomy.pop(member, None)
        else:
            self._roomy[member] = None
            if member.breaker.is_failing:
                self._failing[member] = None
        self._offer(member)

    def choose(self, failed: Mapping[ManagedWorker, float], affinity: bytes | None) -> ManagedWorker | None:
        """One that has room: rather none of those that failed under this request, nor one that has just
        failed others. Times are of time.monotonic.
        """
        if not self._roomy:
            return None
        for member in self._failing:
            self._offer(member)
        sound = self._pick_without(failed, affinity) if failed else self._choices.pick(affinity)
        if sound is not None:
            return sound
        # What is left has failed: under this request, or under others.
        able = usable(list(self._roomy), failed)
        fresh = [member for member in able if member not in failed]
        return pick_one(self._policy, fresh or able, affinity)

    def _offer(self, member: ManagedWorker) -> None:
        """A breaker that is open is half open after some time."""
        if member in self._roomy and not member.breaker.is_open:
            self._choices.put(member)
        else:
            self._choices.drop(member)

    def _pick_without(self, failed: Iterable[ManagedWorker], affinity: bytes | None) -> ManagedWorker | None:
        for member in failed:
            self._choices.drop(member)
        chosen = self._choices.pick(affinity)
        for member in failed:
            if member in self._known:
                self._offer(member)
        return chosen


def usable(
    members: Sequence[ManagedWorker], failed: Mapping[ManagedWorker, float]
) -> Sequence[ManagedWorker]:
    """Without those that have not reported since they failed: their last report says nothing of how they are
    now. Times are of time.monotonic.
    """
    if not failed:
        return members
    return [member for member in members if member.reported_at > failed.get(member, float("-inf"))]
