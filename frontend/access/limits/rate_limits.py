"""The limits of keys: admits requests, from memory where that is safe, and exchanges counts with others.

A frontend decides alone while what the others do not know of is at most a small share of what was left when
it last read the database. Otherwise it asks the database, together with all requests that wait for that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import islice

from drover import logs
from drover.errors import DroverError
from frontend.access.key import Key
from frontend.access.limits.admission import Admission, refused
from frontend.access.limits.batch import Batch, Waiter
from frontend.access.limits.bucket import MICROSECONDS
from frontend.access.limits.key_counts import STREAMS, KeyCounts, Refusal, Wanted
from frontend.access.limits.shared_counts import Exchange, SharedCounts, StoredCounts

_log = logging.getLogger("drover.frontend")
_EXCHANGE_SECONDS = 0.25
# Renews the lease; also how soon a database that was unavailable is tried again.
_RENEW_SECONDS = 1.0
_ANSWER_SECONDS = 1.0
_STOP_SECONDS = 3.0
# Keys, and requests that wait, of one exchange: it has to end within _ANSWER_SECONDS.
_AT_ONCE = 1000
# Other frontends have written by then that a stream has ended.
_AGAIN_SECONDS = 0.1
_SWEEP_SECONDS = 600.0
_FORGET_US = 120 * MICROSECONDS
# A share: this part of what is left, divided by the frontends.
_SHARE_OF_FREE = 8
_LEAST_FRONTENDS = 2


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class RateLimits:
    """`shared`: None where each frontend counts for itself. `clock`: microseconds, from any zero."""

    def __init__(self, shared: SharedCounts | None, clock: Callable[[], int] = _monotonic_us) -> None:
        self._shared = shared
        self._clock = clock
        self._offset_us = time.time_ns() // 1000 - clock()
        self._counts: dict[str, KeyCounts] = {}
        self._changed: set[str] = set()
        self._waiting: list[Waiter] = []
        self._wake = asyncio.Event()
        self._has_freed = False
        self._frontends = _LEAST_FRONTENDS
        self._is_unavailable = False
        self._exchanged = 0.0
        self._looked = self._swept = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """The keys in memory."""
        return len(self._counts)

    async def start(self) -> None:
        if self._shared is not None:
            self._task = asyncio.create_task(self._keep_exchanging(), name="exchange counts of keys")

    async def stop(self) -> None:
        """Write what the database lacks, so that other frontends have it."""
        if self._task is None or self._shared is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not self._counts or self._is_unavailable:
            # The database has nothing of this frontend, or cannot be reached: then its lease expires.
            return
        await self._try_exchange()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await self._shared.leave()
        except (DroverError, TimeoutError) as error:
            _log.debug("lease of limits not deleted, it expires: %s", error)

    def now_us(self) -> int:
        """Microseconds since 1970 by the database's clock, once it was read."""
        return self._clock() + self._offset_us

    async def admit(self, key: Key, least_tokens: int) -> Admission:
        """Count a request, until its admission ends. `least_tokens`: an estimate for a key without earlier
        answers. Raises RateLimited.
        """
        counts = self._counts.get(key.id)
        if counts is None:
            counts = self._counts[key.id] = KeyCounts()
        counts.limits, counts.asked_us = key.limits, self._clock()
        wanted = _wanted(counts, least_tokens)

        async def decide(more: Wanted) -> Refusal | None:
            return await self._decide(key.id, counts, more)

        if (refusal := await decide(wanted)) is not None:
            raise refused(refusal, key.limits)
        return Admission(counts, wanted, self.now_us, decide, lambda freed: self._note(key.id, freed))

    def _note(self, key_id: str, has_freed: bool = False) -> None:
        """Have a change written; a stream that has ended at once, since another frontend may have refused
        for it.
        """
        if self._shared is not None:
            self._changed.add(key_id)
            self._has_freed = self._has_freed or (has_freed and self._shared.is_shared)
            self._wake.set()

    async def _decide(self, key_id: str, counts: KeyCounts, wanted: Wanted) -> Refusal | None:
        now_us = self.now_us()
        refusal = counts.refusal(wanted, now_us)
        if refusal is None and self._decides_alone(counts, wanted, now_us):
            counts.take(wanted, now_us)
            self._note(key_id)
            return None
        if refusal is not None and not self._may_be_outdated(refusal, counts, wanted):
            return refusal
        refusal = await self._ask(key_id, counts, wanted)
        if refusal is None or refusal.limit != STREAMS:
            return refusal
        await asyncio.sleep(_AGAIN_SECONDS)
        return await self._ask(key_id, counts, wanted)

    @property
    def _is_on_its_own(self) -> bool:
        return self._task is None or self._is_unavailable

    def _decides_alone(self, counts: KeyCounts, wanted: Wanted, now_us: int) -> bool:
        if self._shared is None or self._is_on_its_own:
            return True
        if not counts.is_read:
            return False
        parts = _SHARE_OF_FREE * max(self._frontends, _LEAST_FRONTENDS)
        return not self._shared.is_shared or counts.has_share(wanted, now_us, parts)

    def _may_be_outdated(self, refusal: Refusal, counts: KeyCounts, wanted: Wanted) -> bool:
        """Streams of other frontends end; nothing that others do empties a bucket sooner."""
        if self._is_on_its_own:
            return False
        most = counts.limits.streams
        if not counts.is_read:
            return True
        return refusal.limit == STREAMS and most is not None and counts.streams + wanted.streams <= most

    async def _ask(self, key_id: str, counts: KeyCounts, wanted: Wanted) -> Refusal | None:
        """Decide with the database's counts; with those in memory if it is unavailable."""
        waiter = Waiter(key_id, counts, wanted, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._wake.set()
        try:
            return await waiter.decided
        except asyncio.CancelledError:
            decided = waiter.decided
            if decided.done() and not decided.cancelled() and decided.result() is None:
                self._give_back(waiter)
            raise

    def _give_back(self, waiter: Waiter) -> None:
        """Of a request that was cancelled when it had just been admitted."""
        waiter.counts.streams -= waiter.wanted.streams
        waiter.counts.add_tokens(-waiter.wanted.tokens, self.now_us())
        self._note(waiter.key_id, has_freed=True)

    async def _keep_exchanging(self) -> None:
        while True:
            await self._until_due()
            await self._try_exchange()
            await self._sweep()

    async def _until_due(self) -> None:
        while not (self._waiting or self._has_freed) or self._is_unavailable:
            try:
                async with asyncio.timeout(self._delay()):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
        self._wake.clear()

    def _delay(self) -> float | None:
        """Seconds until the next exchange; None if nothing is to be exchanged."""
        if not self._counts:
            return None
        interval = _EXCHANGE_SECONDS if self._changed and not self._is_unavailable else _RENEW_SECONDS
        return max(0.0, self._exchanged + interval - time.monotonic())

    async def _try_exchange(self) -> None:
        """Exchange the counts. If that fails, requests that wait are decided from memory."""
        waiting, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        self._has_freed = False
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._exchange(waiting)
        except (DroverError, TimeoutError) as error:
            self._lose(error)
        except Exception as defect:  # noqa: BLE001 - else no request of a limited key would be admitted again
            _log.exception("unhandled exception in the exchange of limits")
            self._lose(defect)
        else:
            if self._is_unavailable:
                logs.event(_log, logging.INFO, "limits of keys hold over all frontends again")
            self._is_unavailable = False
        finally:
            self._exchanged = time.monotonic()
            if self._is_unavailable:
                waiting, self._waiting = [*waiting, *self._waiting], []
            for each in waiting:
                if not each.decided.done():
                    self._decide_from_memory(each)

    def _decide_from_memory(self, waiter: Waiter) -> None:
        now_us = self.now_us()
        refusal = waiter.counts.refusal(waiter.wanted, now_us)
        if refusal is None:
            waiter.counts.take(waiter.wanted, now_us)
            self._note(waiter.key_id)
        waiter.decided.set_result(refusal)

    def _lose(self, error: Exception) -> None:
        """Until the database is available again, each frontend counts for itself."""
        if not self._is_unavailable:
            reason = str(error.__cause__ or error) or type(error).__name__
            logs.event(
                _log, logging.WARNING, "database unavailable: limits of keys hold per frontend", reason=reason
            )
        self._is_unavailable = True
        for counts in self._counts.values():
            counts.is_read = False
            counts.other_streams = 0

    async def _exchange(self, waiting: list[Waiter]) -> None:
        assert self._shared is not None
        changed = [*islice(self._changed, _AT_ONCE)]
        batch = Batch(self._counts, changed, waiting)
        self._changed.difference_update(changed, batch.keys)

        def settle(exchange: Exchange) -> dict[str, StoredCounts]:
            self._offset_us = exchange.now_us - self._clock()
            return batch.settle(exchange)

        try:
            await self._shared.exchange(batch.keys, settle)
        except BaseException:
            self._changed.update(batch.keys)
            raise
        self._frontends = batch.frontends
        self._changed.update(batch.apply(self.now_us()))
        for each, refusal in zip(waiting, batch.refusals, strict=True):
            if not each.decided.done():
                each.decided.set_result(refusal)
            elif refusal is None:
                self._give_back(each)

    async def _sweep(self) -> None:
        """Forget keys that are not used, here every second, and in the database now and then."""
        if time.monotonic() - self._looked < _RENEW_SECONDS:
            return
        self._looked = time.monotonic()
        now_us = self.now_us()
        for key_id, counts in [*self._counts.items()]:
            is_idle = not counts.streams and self._clock() - counts.asked_us > _FORGET_US
            if is_idle and (not counts.is_changed or _is_empty(counts, now_us)):
                del self._counts[key_id]
                self._changed.discard(key_id)
        if time.monotonic() - self._swept > _SWEEP_SECONDS and self._shared and not self._is_unavailable:
            self._swept = time.monotonic()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._shared.delete_unused()
            except (DroverError, TimeoutError) as error:
                self._lose(error)


def _wanted(counts: KeyCounts, least_tokens: int) -> Wanted:
    """An answer is expected to take what the key's recent ones took, at most the limit itself."""
    limit = counts.limits.tokens_per_minute
    if limit is None:
        return Wanted()
    expected = round(counts.mean_tokens) or min(least_tokens, limit // 10)
    return Wanted(tokens=max(1, min(expected, limit)))


def _is_empty(counts: KeyCounts, now_us: int) -> bool:
    limits = counts.limits
    return not (
        counts.requests.level(limits.requests_per_minute or 0, now_us)
        or counts.tokens.level(limits.tokens_per_minute or 0, now_us)
    )
