"""All presets: kept in memory, so that inference never waits for the database, and true to it, so that what
one frontend makes the others have at once.

A poll reads the revision and, when it has moved, the presets that are new; whoever misses a name, or shows
a list, looks at once instead of waiting for the poll.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from drover import logs
from drover.errors import DroverError, StoreUnavailable
from frontend.models.preset import Preset
from frontend.models.preset_rows import Changes, PresetRow, PresetRows

_log = logging.getLogger("drover.catalog")
# Cancelled, a call to a database that hangs ends its connection first.
_STOP_SECONDS = 3.0


class Presets:
    """One look or change at a time; a look serves all who waited for it. While the database is away only
    the poll asks it, and all others learn so at once.
    """

    def __init__(self, rows: PresetRows, poll_seconds: float) -> None:
        self._rows = rows
        self._poll_seconds = poll_seconds
        self._known: dict[str, Preset] = {}
        self._seen_revision = -1
        self._using = asyncio.Lock()
        self._looks_begun = 0
        self._looks_done = 0
        self._failure: StoreUnavailable | None = None
        self._poller: asyncio.Task[None] | None = None
        self._has_looked = False

    async def start(self) -> None:
        """Does not wait: a frontend serves without its database."""
        self._poller = asyncio.create_task(self._poll(), name="poll presets")

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait({self._poller}, timeout=_STOP_SECONDS)
        await self._rows.database.close()

    @property
    def has_looked(self) -> bool:
        """Whether all of them have ever been read."""
        return self._has_looked

    def known(self) -> Sequence[Preset]:
        return list(self._known.values())

    def find_known(self, key: str) -> Preset | None:
        return self._known.get(key)

    async def look(self) -> None:
        """Afterwards everything is known that was committed when this was called. Raises StoreUnavailable."""
        self._check_is_there()
        await self._look()

    async def put(self, preset: Preset) -> None:
        """Makes or replaces. Raises StoreUnavailable, and InvalidRequest when there are too many."""
        async with self._turn():
            await self._rows.write(preset)
            self._known = {**self._known, preset.name.key: preset}

    async def delete(self, key: str) -> bool:
        """Whether there was one. Raises StoreUnavailable."""
        async with self._turn():
            there_was = await self._rows.delete(key)
            self._known = {each: preset for each, preset in self._known.items() if each != key}
        return there_was

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        self._check_is_there()
        async with self._using:
            self._check_is_there()
            yield

    def _check_is_there(self) -> None:
        if self._failure is not None:
            raise StoreUnavailable(self._failure.message)

    async def _look(self, is_probe: bool = False) -> None:
        wanted = self._looks_begun + 1
        async with self._using:
            if self._looks_done >= wanted:
                return
            if not is_probe:
                self._check_is_there()
            self._looks_begun += 1
            number = self._looks_begun
            try:
                await self._read_changes()
            except StoreUnavailable as error:
                self._failure = error
                raise
            self._failure = None
            self._looks_done = number

    async def _read_changes(self) -> None:
        """Batch by batch; what has been read stays read, whatever becomes of the next one."""
        while True:
            changes = await self._rows.after(self._seen_revision)
            if changes.rows or changes.keys is not None:
                # A thread is not worth it for none, as most databases have.
                read = await asyncio.to_thread(_read_all, changes.rows) if changes.rows else {}
                self._take(changes, read)
            self._seen_revision = changes.revision
            if changes.keys is not None or not changes.rows:
                self._has_looked = True
                return

    def _take(self, changes: Changes, read: dict[str, Preset | None]) -> None:
        known = {**self._known, **read}
        self._known = {
            key: preset
            for key, preset in known.items()
            if preset is not None and (changes.keys is None or key in changes.keys)
        }

    async def _poll(self) -> None:
        was_away = False
        while True:
            reason = await self._probe()
            if reason is not None and not was_away:
                logs.event(
                    _log,
                    logging.WARNING,
                    "database is away: served models go on, presets stay as they are",
                    database=str(self._rows.database),
                    reason=reason,
                )
            if reason is None and was_away:
                logs.event(_log, logging.INFO, "database is back", database=str(self._rows.database))
            was_away = reason is not None
            await asyncio.sleep(self._poll_seconds)

    async def _probe(self) -> str | None:
        """Why the database cannot be used. The poll outlives whatever a driver may raise."""
        try:
            await self._look(is_probe=True)
        except DroverError as error:
            return str(error.__cause__ or error)
        except Exception as error:  # noqa: BLE001 - a poll that ended would be missed by nobody, for ever
            self._failure = StoreUnavailable("the database of presets cannot be used; see this server's log")
            _log.error("the presets cannot be read", exc_info=error)
            return str(error)
        return None


def _read_all(rows: Sequence[PresetRow]) -> dict[str, Preset | None]:
    return {row.key: _read(row.name, row.document) for row in rows}


def _read(name: str, document: str) -> Preset | None:
    """One that cannot be read is as good as none, and the others go on."""
    try:
        return Preset.from_document(name, document)
    except (ValueError, KeyError, TypeError) as error:
        logs.event(_log, logging.ERROR, "a preset cannot be read", preset=name, reason=repr(error))
        return None
