"""The database's keys, in memory, so that no request waits for the database.

A poll reads the keys' revision and, when it has changed, the rows that are new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from drover import logs
from drover.errors import DroverError
from frontend.access.key_rows import KeyRows
from frontend.access.stored_key import EndedSession, StoredKey

_log = logging.getLogger("drover.keys")
# A change counts within 2 s, also where a read takes a while.
POLL_SECONDS = 0.5
_STOP_SECONDS = 3.0


class DatabaseKeys:
    """While the database is unavailable the keys read last stay valid."""

    def __init__(self, rows: KeyRows, poll_seconds: float = POLL_SECONDS) -> None:
        self._rows = rows
        self._poll_seconds = poll_seconds
        self._keys: dict[str, StoredKey] = {}
        self._seen_revision = -1
        self._has_loaded = False
        self._was_tried = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None

    async def start(self, wait_seconds: float | None) -> None:
        """Start the poll, and wait that long for its first read to succeed or fail; None: as long as the
        database may take to answer.
        """
        self._poller = asyncio.create_task(self._poll(), name="poll keys")
        try:
            async with asyncio.timeout(wait_seconds):
                await self._was_tried.wait()
        except TimeoutError:
            pass
        if not self.has_loaded:
            logs.event(_log, logging.WARNING, "keys are not read yet", database=str(self._rows.database))

    async def stop(self) -> None:
        """Before the database is closed."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait({self._poller}, timeout=_STOP_SECONDS)

    @property
    def has_loaded(self) -> bool:
        """True once all keys have been read."""
        return self._has_loaded

    @property
    def all(self) -> Mapping[str, StoredKey]:
        return self._keys

    async def end_session(self, key_id: str, ended: EndedSession, now: float) -> None:
        """For all frontends; nothing for a key that the database does not have. Raises StoreUnavailable."""
        if key_id in self._keys:
            await self._rows.end_session(key_id, ended, now)

    async def refresh(self) -> None:
        """Read what has changed. Raises StoreUnavailable."""
        more = True
        while more:
            changes = await self._rows.after(self._seen_revision)
            if changes.keys or changes.from_start:
                merged = {**({} if changes.from_start else self._keys), **changes.keys}
                self._keys = {key_id: key for key_id, key in merged.items() if key is not None}
            self._seen_revision, more = changes.revision, changes.more
        self._has_loaded = True

    async def _poll(self) -> None:
        was_unavailable = False
        while True:
            reason = await self._probe()
            self._was_tried.set()
            if reason is not None and not was_unavailable:
                logs.event(
                    _log,
                    logging.WARNING,
                    "keys cannot be read: those known keep working, changes do not count",
                    database=str(self._rows.database),
                    reason=reason,
                )
            if reason is None and was_unavailable:
                logs.event(_log, logging.INFO, "keys are read again", database=str(self._rows.database))
            was_unavailable = reason is not None
            await asyncio.sleep(self._poll_seconds)

    async def _probe(self) -> str | None:
        """The reason why keys cannot be read. Any error a driver raises leaves the poll running."""
        try:
            await self.refresh()
        except DroverError as error:
            return str(error.__cause__ or error)
        except Exception as error:  # noqa: BLE001 - else a revoked key would stay valid until a restart
            _log.error("keys cannot be read: unhandled exception", exc_info=error)
            return type(error).__name__
        return None
