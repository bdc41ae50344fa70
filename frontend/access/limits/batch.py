"""One exchange of counts with the database: what it finds, decides and writes, and what it changes in memory.

Nothing in memory changes before the transaction is committed. What is counted meanwhile is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from frontend.access.limits.bucket import Bucket
from frontend.access.limits.key_counts import KeyCounts, Refusal, Wanted
from frontend.access.limits.shared_counts import Exchange, StoredCounts


@dataclass(frozen=True, slots=True)
class Waiter:
    """A request that is decided with the database's counts. `decided`: None if it is admitted."""

    key_id: str
    counts: KeyCounts
    wanted: Wanted
    decided: asyncio.Future[Refusal | None]


class Batch:
    """`counts`: of all keys in memory. `refusals`: of `waiting`, in their order."""

    def __init__(
        self, counts: Mapping[str, KeyCounts], changed: Iterable[str], waiting: Sequence[Waiter]
    ) -> None:
        self._counts = counts
        self._waiting = waiting
        keys = dict.fromkeys([*changed, *(each.key_id for each in waiting)])
        self.keys = [key_id for key_id in keys if key_id in counts]
        self._before: dict[str, KeyCounts] = {}
        self._after: dict[str, KeyCounts] = {}
        self._is_new = False
        self.frontends = 1
        self.refusals: list[Refusal | None] = []

    def settle(self, exchange: Exchange) -> dict[str, StoredCounts]:
        """Add what this frontend has counted, decide the requests that wait, and return what to write."""
        now_us = exchange.now_us
        self.frontends, self._is_new = exchange.frontends, exchange.is_new
        for key_id in self.keys:
            before = self._before[key_id] = replace(self._counts[key_id])
            before.requests, before.tokens = replace(before.requests), replace(before.tokens)
            self._after[key_id] = _merged(before, exchange.counts[key_id], now_us)
        for each in self._waiting:
            counts = self._after[each.key_id]
            refusal = counts.refusal(each.wanted, now_us)
            if refusal is None:
                counts.take(each.wanted, now_us)
            self.refusals.append(refusal)
        return {key_id: _stored(counts, now_us) for key_id, counts in self._after.items()}

    def apply(self, now_us: int) -> set[str]:
        """Take over what was written. Returns the keys of which the database lacks something again."""
        for key_id in self.keys:
            _apply(self._counts[key_id], self._before[key_id], self._after[key_id], now_us)
        changed = {key_id for key_id in self.keys if self._counts[key_id].is_changed}
        return changed | self._lost_streams() if self._is_new else changed

    def _lost_streams(self) -> set[str]:
        """Of a frontend whose lease had expired the others have deleted the streams."""
        lost = {key_id: counts for key_id, counts in self._counts.items() if key_id not in self._after}
        for counts in lost.values():
            counts.written_streams = 0
        return {key_id for key_id, counts in lost.items() if counts.is_changed}


def _merged(counts: KeyCounts, stored: StoredCounts, now_us: int) -> KeyCounts:
    """The database's counts, with what this frontend has counted since."""
    limits = counts.limits
    requests, tokens = Bucket(stored.requests, stored.at_us), Bucket(stored.tokens, stored.at_us)
    _add(requests, counts.requests, counts.new_requests, limits.requests_per_minute, now_us)
    _add(tokens, counts.tokens, counts.new_tokens, limits.tokens_per_minute, now_us)
    return replace(counts, requests=requests, tokens=tokens, other_streams=stored.streams)


def _add(bucket: Bucket, local: Bucket, new: int, limit: int | None, now_us: int) -> None:
    """While the database was unavailable, a part of what is new has drained from the bucket in memory."""
    if limit is not None:
        bucket.add(limit, now_us, min(new, local.level(limit, now_us)))


def _stored(counts: KeyCounts, now_us: int) -> StoredCounts:
    limits = counts.limits
    return StoredCounts(
        counts.requests.level(limits.requests_per_minute or 0, now_us),
        counts.tokens.level(limits.tokens_per_minute or 0, now_us),
        now_us,
        counts.streams if limits.streams is not None else 0,
    )


def _apply(counts: KeyCounts, before: KeyCounts, after: KeyCounts, now_us: int) -> None:
    limits = counts.limits
    counts.new_requests -= before.new_requests
    counts.new_tokens -= before.new_tokens
    counts.requests, counts.tokens = after.requests, after.tokens
    counts.requests.add(limits.requests_per_minute or 0, now_us, counts.new_requests)
    counts.tokens.add(limits.tokens_per_minute or 0, now_us, counts.new_tokens)
    counts.streams += after.streams - before.streams
    counts.written_streams, counts.other_streams = after.streams, after.other_streams
    counts.is_read = True
