"""The workers that can replace each other, as they are now: looked for once, not by each request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frontend.catalog.served import Kind
from frontend.fleet.members import Member


@dataclass(frozen=True, slots=True)
class Pool:
    """`ready`: those that take requests; `roomy`: of these, those where this frontend may send one more now;
    `is_sound`: none that is ready has a breaker that may be open. Never changed: another one takes its place.
    """

    ready: tuple[Member, ...]
    roomy: tuple[Member, ...]
    is_sound: bool

    @classmethod
    def of(cls, members: Sequence[Member], kind: Kind) -> Pool:
        ready = tuple(member for member in members if member.ready and member.kind == kind)
        return cls(ready, _roomy(ready), not any(member.breaker.is_failing for member in ready))

    def with_room_now(self) -> Pool:
        """After nothing but where there is room has changed, as it does with each request of a busy fleet."""
        return Pool(self.ready, _roomy(self.ready), self.is_sound)


def _roomy(members: Sequence[Member]) -> tuple[Member, ...]:
    return tuple([member for member in members if member.has_room])
