"""The limits of keys: admits requests, from memory where that is safe, else with the database's counts.

A frontend decides alone while what the others do not know of is at most a small share of what was left when
it last read the database. Otherwise it asks the database, together with all requests that wait for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from frontend.access.key import Key
from frontend.access.limits.admission import Admission, LimitStates, refused
from frontend.access.limits.counts_exchange import CountsExchange
from frontend.access.limits.key_counts import STREAMS, KeyCounts, Refusal, Wanted
from frontend.access.limits.shared_counts import SharedCounts

# Other frontends have written by then that a stream has ended.
_AGAIN_SECONDS = 0.1
# A share: this part of what is left, divided by the frontends.
_SHARE_OF_FREE = 8
_LEAST_FRONTENDS = 2


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class RateLimits:
    """Before it is started, it counts for itself. `clock`: microseconds, from any zero."""

    def __init__(self, shared: SharedCounts, clock: Callable[[], int] = _monotonic_us) -> None:
        self._exchange = CountsExchange(shared, clock)

    async def start(self) -> None:
        await self._exchange.start()

    async def stop(self) -> None:
        await self._exchange.stop()

    async def admit(self, key: Key, least_tokens: int) -> Admission:
        """Count a request, until its admission ends. `least_tokens`: an estimate for a key without earlier
        answers. Raises RateLimited.
        """
        exchange = self._exchange
        counts = exchange.of(key.id)
        counts.limits = key.limits
        wanted = _wanted(counts, least_tokens)

        async def decide(more: Wanted) -> Refusal | None:
            return await self._decide(key.id, counts, more)

        if (refusal := await decide(wanted)) is not None:
            raise refused(refusal, key.limits)
        return Admission(counts, wanted, exchange.now_us, decide, lambda freed: exchange.note(key.id, freed))

    def states(self, key: Key) -> LimitStates:
        """What is left of the key's limits."""
        return LimitStates(self._exchange.of(key.id), self._exchange.now_us)

    async def _decide(self, key_id: str, counts: KeyCounts, wanted: Wanted) -> Refusal | None:
        now_us = self._exchange.now_us()
        refusal = counts.refusal(wanted, now_us)
        if refusal is None and self._decides_alone(counts, wanted, now_us):
            counts.take(wanted, now_us)
            self._exchange.note(key_id)
            return None
        if refusal is not None and not self._may_be_outdated(refusal, counts, wanted):
            return refusal
        refusal = await self._exchange.ask(key_id, counts, wanted)
        if refusal is None or refusal.limit != STREAMS:
            return refusal
        await asyncio.sleep(_AGAIN_SECONDS)
        return await self._exchange.ask(key_id, counts, wanted)

    def _decides_alone(self, counts: KeyCounts, wanted: Wanted, now_us: int) -> bool:
        exchange = self._exchange
        if not exchange.is_available:
            return True
        if not counts.is_read:
            return False
        parts = _SHARE_OF_FREE * max(exchange.frontends, _LEAST_FRONTENDS)
        return not exchange.is_shared or counts.has_share(wanted, now_us, parts)

    def _may_be_outdated(self, refusal: Refusal, counts: KeyCounts, wanted: Wanted) -> bool:
        """Streams of other frontends end; nothing that others do empties a bucket sooner."""
        if not self._exchange.is_available:
            return False
        most = counts.limits.streams
        if not counts.is_read:
            return True
        return refusal.limit == STREAMS and most is not None and counts.streams + wanted.streams <= most


def _wanted(counts: KeyCounts, least_tokens: int) -> Wanted:
    """An answer is expected to take what the key's recent ones took, at most the limit itself."""
    limit = counts.limits.tokens_per_minute
    if limit is None:
        return Wanted()
    expected = round(counts.mean_tokens) or min(least_tokens, limit // 10)
    return Wanted(tokens=max(1, min(expected, limit)))
