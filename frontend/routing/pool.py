"""Interchangeable workers, kept sorted as each one changes, so that no request has to look at all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from drover.digests import digest_of
from frontend.routing.capacity import share_of
from frontend.routing.long_prompts import NO_LONG_PROMPTS, LongPrompts
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.policies.base import Policy, pick_one
from frontend.routing.served_model import Kind


class Pool:
    """The ready workers of one kind. A worker's change of availability replaces the pool; all other changes
    come by `update`.
    """

    def __init__(
        self,
        workers: Iterable[ManagedWorker],
        kind: Kind,
        policy: Policy,
        long_prompts: LongPrompts = NO_LONG_PROMPTS,
    ) -> None:
        self.ready = tuple(worker for worker in workers if worker.ready and worker.kind == kind)
        self._long_prompts = long_prompts
        self.kv_tokens = sum(worker.report.kv_tokens_total for worker in self.ready if worker.report)
        """Of the caches of all of them, as far as they report it."""
        self._without_reserve = frozenset(_without_reserve(self.ready, long_prompts))
        self._policy = policy
        self._known = frozenset(self.ready)
        # Workers with room for a request of this frontend, and of these, those whose breaker may be open.
        self._with_room: dict[ManagedWorker, None] = {}
        self._failing: dict[ManagedWorker, None] = {}
        # Those of them with room for the prefill of a long prompt while there are no short ones.
        self._with_long_room: dict[ManagedWorker, None] = {}
        # Of those with room, the ones whose breaker was not open when it was read last.
        self._choices = policy.choices(self.ready)
        for worker in self.ready:
            self.update(worker)

    def update(self, worker: ManagedWorker) -> None:
        """Call when the worker's load, room or breaker has changed."""
        if worker not in self._known:
            return
        self._failing.pop(worker, None)
        self._with_long_room.pop(worker, None)
        if not worker.has_room:
            self._with_room.pop(worker, None)
        else:
            self._with_room[worker] = None
            if not worker.long_prefills or self._may_prefill(worker, has_short=False):
                self._with_long_room[worker] = None
            if worker.breaker.is_failing:
                self._failing[worker] = None
        self._refresh_choice(worker)

    def choose(self, failed: Mapping[ManagedWorker, float], affinity: bytes | None) -> ManagedWorker | None:
        """A worker with room, None if all are full. Workers that failed under this request (`failed`, with
        the time.monotonic of it) or whose breaker is open are chosen only if no other one has room.
        """
        if not self._with_room:
            return None
        for worker in self._failing:
            self._refresh_choice(worker)
        sound = self._pick_without(failed, affinity) if failed else self._choices.pick(affinity)
        if sound is not None:
            return sound
        able = usable(list(self._with_room), failed)
        fresh = [worker for worker in able if worker not in failed]
        return pick_one(self._policy, fresh or able, affinity)

    def choose_for_long(
        self,
        failed: Mapping[ManagedWorker, float],
        affinity: bytes | None,
        tokens: float,
        has_short: bool,
    ) -> ManagedWorker | None:
        """A worker for a long prompt of so many tokens, as `choose`. `has_short`: there are short prompts, to
        which it leaves what is reserved for them.
        """
        able: list[ManagedWorker] = list(self._with_long_room)
        if has_short:
            able = [worker for worker in able if self._leaves_reserve(worker, tokens)]
        sound = [worker for worker in able if worker not in failed and not worker.breaker.is_open]
        return pick_one(self._policy, sound or usable(able, failed), affinity)

    def _leaves_reserve(self, worker: ManagedWorker, tokens: float) -> bool:
        """A worker without long prompts takes one in any case, unless it is reserved as a whole."""
        if worker not in self._without_reserve or worker.report is None:
            return False
        if not self._may_prefill(worker, has_short=True):
            return False
        if not worker.long_requests:
            return True
        share, kv_tokens = self._long_prompts.share_of, worker.report.kv_tokens_total
        return worker.long_requests + 1 <= share(share_of(worker.report)) and (
            not kv_tokens or worker.long_tokens + tokens <= share(kv_tokens)
        )

    def _may_prefill(self, worker: ManagedWorker, has_short: bool) -> bool:
        return self._long_prompts.may_prefill(worker.long_prefills, worker.long_prefill_tokens, has_short)

    def _refresh_choice(self, worker: ManagedWorker) -> None:
        """An open breaker becomes half-open by the passing of time, of which there is no event."""
        if worker in self._with_room and not worker.breaker.is_open:
            self._choices.put(worker)
        else:
            self._choices.drop(worker)

    def _pick_without(self, failed: Iterable[ManagedWorker], affinity: bytes | None) -> ManagedWorker | None:
        for worker in failed:
            self._choices.drop(worker)
        chosen = self._choices.pick(affinity)
        for worker in failed:
            if worker in self._known:
                self._refresh_choice(worker)
        return chosen


def _without_reserve(workers: Sequence[ManagedWorker], long_prompts: LongPrompts) -> Iterable[ManagedWorker]:
    """The workers that take long prompts while there are short ones: all frontends choose the same. Of a
    single worker a part of its places is reserved.
    """
    count = max(1, math.floor(long_prompts.share_of(len(workers))))
    return sorted(workers, key=lambda worker: digest_of([worker.address]))[:count]


def usable(
    workers: Sequence[ManagedWorker], failed: Mapping[ManagedWorker, float]
) -> Sequence[ManagedWorker]:
    """Workers without those that have not reported since they failed: their last report is out of date.
    Times are of time.monotonic.
    """
    if not failed:
        return workers
    return [worker for worker in workers if worker.reported_at > failed.get(worker, float("-inf"))]
