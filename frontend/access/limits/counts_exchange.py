"""Exchanges counts of keys with the database: every quarter of a second, and at once for requests that wait.

One exchange at a time, so that it serves all requests that wait for it. Counts of keys that are not used are
forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import islice

from drover import logs
from drover.errors import DroverError
from frontend.access.limits.batch import Batch, Waiter
from frontend.access.limits.bucket import MICROSECONDS
from frontend.access.limits.key_counts import KeyCounts, Refusal, Wanted
from frontend.access.limits.shared_counts import Exchange, SharedCounts, StoredCounts

_log = logging.getLogger("drover.frontend")
_EXCHANGE_SECONDS = 0.25
# Renews the lease; also how soon a database that was unavailable is tried again.
_RENEW_SECONDS = 1.0
_ANSWER_SECONDS = 1.0
_STOP_SECONDS = 3.0
# Keys, and requests that wait, of one exchange: it has to end within _ANSWER_SECONDS.
_AT_ONCE = 1000
_SWEEP_SECONDS = 600.0
_FORGET_US = 120 * MICROSECONDS


class CountsExchange:
    """`counts`: of all keys in memory. `clock`: microseconds, from any zero. `is_available`: False before the
    start, and while the database is unavailable: then each frontend counts for itself. `frontends`: those
    that use the database.
    """

    def __init__(self, shared: SharedCounts, clock: Callable[[], int]) -> None:
        self.counts: dict[str, KeyCounts] = {}
        self.frontends = 1
        self.is_available = False
        self._shared = shared
        self._clock = clock
        self._offset_us = time.time_ns() // 1000 - clock()
        self._changed: set[str] = set()
        self._waiting: list[Waiter] = []
        self._wake = asyncio.Event()
        self._has_freed = False
        self._exchanged = 0.0
        self._looked = self._swept = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_shared(self) -> bool:
        """True if other frontends may use the database."""
        return self._shared.is_shared

    async def start(self) -> None:
        self.is_available = True
        self._task = asyncio.create_task(self._keep_exchanging(), name="exchange counts of keys")

    async def stop(self) -> None:
        """Write what the database lacks, so that other frontends have it."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=_STOP_SECONDS)
        if not self.counts or not self.is_available:
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

    def of(self, key_id: str) -> KeyCounts:
        """The key's counts, which are kept for a while from now on."""
        counts = self.counts.get(key_id)
        if counts is None:
            counts = self.counts[key_id] = KeyCounts()
        counts.asked_us = self._clock()
        return counts

    def note(self, key_id: str, has_freed: bool = False) -> None:
        """Have a change written; a stream that has ended at once, since another frontend may have refused
        for it.
        """
        self._changed.add(key_id)
        self._has_freed = self._has_freed or (has_freed and self._shared.is_shared)
        self._wake.set()

    async def ask(self, key_id: str, counts: KeyCounts, wanted: Wanted) -> Refusal | None:
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
        self.note(waiter.key_id, has_freed=True)

    async def _keep_exchanging(self) -> None:
        while True:
            await self._until_due()
            await self._try_exchange()
            await self._sweep()

    async def _until_due(self) -> None:
        while not (self._waiting or self._has_freed) or not self.is_available:
            try:
                async with asyncio.timeout(self._delay()):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()
        self._wake.clear()

    def _delay(self) -> float | None:
        """Seconds until the next exchange; None if nothing is to be exchanged."""
        if not self.counts:
            return None
        interval = _EXCHANGE_SECONDS if self._changed and self.is_available else _RENEW_SECONDS
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
            if not self.is_available:
                logs.event(_log, logging.INFO, "limits of keys hold over all frontends again")
            self.is_available = True
        finally:
            self._exchanged = time.monotonic()
            if not self.is_available:
                waiting, self._waiting = [*waiting, *self._waiting], []
            for each in waiting:
                if not each.decided.done():
                    self._decide_from_memory(each)

    def _decide_from_memory(self, waiter: Waiter) -> None:
        now_us = self.now_us()
        refusal = waiter.counts.refusal(waiter.wanted, now_us)
        if refusal is None:
            waiter.counts.take(waiter.wanted, now_us)
            self.note(waiter.key_id)
        waiter.decided.set_result(refusal)

    def _lose(self, error: Exception) -> None:
        """Until the database is available again, each frontend counts for itself."""
        if self.is_available:
            reason = str(error.__cause__ or error) or type(error).__name__
            logs.event(
                _log, logging.WARNING, "database unavailable: limits of keys hold per frontend", reason=reason
            )
        self.is_available = False
        for counts in self.counts.values():
            counts.is_read = False
            counts.other_streams = 0

    async def _exchange(self, waiting: list[Waiter]) -> None:
        changed = [*islice(self._changed, _AT_ONCE)]
        batch = Batch(self.counts, changed, waiting)
        self._changed.difference_update(changed, batch.keys)

        def settle(exchange: Exchange) -> dict[str, StoredCounts]:
            self._offset_us = exchange.now_us - self._clock()
            return batch.settle(exchange)

        try:
            await self._shared.exchange(batch.keys, settle)
        except BaseException:
            self._changed.update(batch.keys)
            raise
        self.frontends = batch.frontends
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
        for key_id, counts in [*self.counts.items()]:
            is_idle = not counts.streams and self._clock() - counts.asked_us > _FORGET_US
            if is_idle and (not counts.is_changed or _is_empty(counts, now_us)):
                del self.counts[key_id]
                self._changed.discard(key_id)
        if time.monotonic() - self._swept > _SWEEP_SECONDS and self.is_available:
            self._swept = time.monotonic()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._shared.delete_unused()
            except (DroverError, TimeoutError) as error:
                self._lose(error)


def _is_empty(counts: KeyCounts, now_us: int) -> bool:
    limits = counts.limits
    return not (
        counts.requests.level(limits.requests_per_minute or 0, now_us)
        or counts.tokens.level(limits.tokens_per_minute or 0, now_us)
    )
