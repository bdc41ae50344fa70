"""Counts requests in memory, and writes the counts in batches.

A batch that could not be written is written again, unchanged, before newer counts.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from drover import logs
from drover.errors import StoreUnavailable
from frontend.observability.request_record import RequestRecord
from frontend.usage.rows import Batch, UsageRows
from frontend.usage.tally import Tally, UsageKey

_log = logging.getLogger("drover.usage")
# A frontend that is killed loses what it counted since, and what the database has not confirmed.
_WRITE_SECONDS = 2.0
_SWEEP_SECONDS = 3600.0
_STOP_SECONDS = 3.0
_ROWS_AT_ONCE = 500
# Counts in memory while the database is unavailable; further rows are lost.
MAX_ROWS = 20_000
# Clients may be able to make models; no frontend has more names than that in a day.
MAX_MODELS = 4_096
OTHER = "(other)"


class UsageLedger:
    """`keep_days`: how long rows are kept. `now`: seconds since 1970."""

    def __init__(self, rows: UsageRows, keep_days: int, now: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._keep_days = keep_days
        self._now = now
        self._tallies: dict[UsageKey, Tally] = {}
        self._names: dict[str, str] = {}
        self._batch: Batch | None = None
        self._writer = secrets.token_hex(16)
        self._number = 0
        self._day, self._models = "", set[str]()
        self._lost = 0
        self._is_failing = False
        self._writing = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    def today(self) -> date:
        return datetime.fromtimestamp(self._now(), UTC).date()

    def count(self, record: RequestRecord) -> None:
        """Count a request that has ended, for the day of its end."""
        if not (record.model or record.is_refused):
            return
        key = self._key_of(record)
        tally = self._tallies.get(key)
        if tally is None:
            if len(self._tallies) >= MAX_ROWS:
                self._lost += 1
                return
            tally = self._tallies[key] = Tally()
        tally.add(record)

    async def start(self) -> None:
        """Does not wait for the database: a frontend serves without it."""
        self._keeper = asyncio.create_task(self._keep(), name="write usage")

    async def stop(self) -> None:
        """Write what is left."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=_STOP_SECONDS)
        try:
            await self.write()
        except StoreUnavailable as error:
            lost = sum(tally.requests for tally in self._tallies.values())
            if self._batch is not None:
                lost += sum(tally.requests for tally in self._batch.tallies.values())
            _warn("usage lost: the database was unavailable until the end", error, requests=lost)

    async def write(self) -> None:
        """Write what has been counted until now: requests that end meanwhile could keep it busy for ever.
        Raises StoreUnavailable.
        """
        async with self._writing:
            left = len(self._tallies)
            while self._batch is not None or left > 0:
                if self._batch is None:
                    self._batch = self._next_batch()
                    left -= len(self._batch.tallies)
                await self._rows.add(self._batch)
                self._batch = None

    def _key_of(self, record: RequestRecord) -> UsageKey:
        day = self.today().isoformat()
        if day != self._day:
            self._day, self._models = day, set()
        key_id = ""
        if record.key is not None:
            key_id = record.key.id
            self._names[key_id] = record.key.name
        model, served = record.model, record.served
        if model not in self._models:
            if len(self._models) < MAX_MODELS:
                self._models.add(model)
            else:
                model = OTHER
        return UsageKey(day, key_id, model, served)

    def _next_batch(self) -> Batch:
        keys = [*islice(self._tallies, _ROWS_AT_ONCE)]
        tallies = {key: self._tallies.pop(key) for key in keys}
        names = {key.key: self._names[key.key] for key in keys if key.key}
        if not self._tallies:
            self._names = {}
        self._number += 1
        return Batch(self._writer, self._number, tallies, names)

    async def _keep(self) -> None:
        swept = -_SWEEP_SECONDS
        while True:
            try:
                await self.write()
                if time.monotonic() - swept > _SWEEP_SECONDS:
                    await self._rows.delete_before(self._oldest_day())
                    swept = time.monotonic()
                self._worked()
            except StoreUnavailable as error:
                self._failed(error)
            except Exception as defect:  # noqa: BLE001 - else nothing would be written until a restart
                if not self._is_failing:
                    _log.error("usage cannot be written: unhandled exception", exc_info=defect)
                self._is_failing = True
            await asyncio.sleep(_WRITE_SECONDS)

    def _oldest_day(self) -> str:
        today = self.today()
        days = min(self._keep_days - 1, today.toordinal() - 1)
        return (today - timedelta(days)).isoformat()

    def _failed(self, error: StoreUnavailable) -> None:
        """Log the first failure only."""
        if not self._is_failing:
            _warn("usage cannot be written: kept in memory and tried again", error)
        self._is_failing = True

    def _worked(self) -> None:
        if self._is_failing:
            logs.event(_log, logging.INFO, "usage is written again", lost_requests=self._lost)
        self._is_failing, self._lost = False, 0


def _warn(what: str, error: StoreUnavailable, **more: int) -> None:
    logs.event(_log, logging.WARNING, what, reason=str(error.__cause__ or error), **more)
