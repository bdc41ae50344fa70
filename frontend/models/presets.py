"""All presets, in memory, so that inference never waits for the database.

A poll reads the database's revision and, when it has changed, the presets that are new. A request for a name
that is not in memory, or for the list, refreshes at once, so that it finds what another frontend has made.
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
from frontend.models.refresh_gate import RefreshGate

_log = logging.getLogger("drover.catalog")
# Cancelled, a call to a database that hangs ends its connection first.
_STOP_SECONDS = 3.0


class Presets:
    """One refresh or change at a time; a refresh serves all its waiters. While the database is unavailable
    only the poll tries it, and every other call fails at once.
    """

    def __init__(self, rows: PresetRows, poll_seconds: float) -> None:
        self._rows = rows
        self._poll_seconds = poll_seconds
        self._presets: dict[str, Preset] = {}
        self._seen_revision = -1
        self._gate = RefreshGate()
        self._failure: StoreUnavailable | None = None
        self._poller: asyncio.Task[None] | None = None
        self._has_loaded = False

    async def start(self) -> None:
        """Start the poll. Does not wait for the database: a frontend serves without it."""
        self._poller = asyncio.create_task(self._poll(), name="poll presets")

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait({self._poller}, timeout=_STOP_SECONDS)
        await self._rows.database.close()

    @property
    def has_loaded(self) -> bool:
        """True once all presets have been read."""
        return self._has_loaded

    def all(self) -> Sequence[Preset]:
        """Those in memory."""
        return list(self._presets.values())

    def get(self, key: str) -> Preset | None:
        """From memory."""
        return self._presets.get(key)

    async def refresh(self) -> None:
        """Read everything that was committed before this call. Raises StoreUnavailable."""
        self._check_available()
        await self._gate.run(self._refresh)

    async def put(self, preset: Preset) -> None:
        """Make or replace. Raises StoreUnavailable, and InvalidRequest when there are too many."""
        async with self._change():
            await self._rows.write(preset)
            self._presets = {**self._presets, preset.name.key: preset}

    async def delete(self, key: str) -> bool:
        """True if there was one. Raises StoreUnavailable."""
        async with self._change():
            there_was = await self._rows.delete(key)
            self._presets = {each: preset for each, preset in self._presets.items() if each != key}
        return there_was

    @asynccontextmanager
    async def _change(self) -> AsyncGenerator[None, None]:
        self._check_available()
        async with self._gate.exclusive():
            self._check_available()
            yield

    def _check_available(self) -> None:
        if self._failure is not None:
            raise StoreUnavailable(self._failure.message)

    async def _refresh(self) -> None:
        self._check_available()
        await self._try_refresh()

    async def _try_refresh(self) -> None:
        """Read the changes, also from a database that was unavailable last time."""
        try:
            await self._read_changes()
        except StoreUnavailable as error:
            self._failure = error
            raise
        self._failure = None

    async def _read_changes(self) -> None:
        """Batch by batch. A batch that was read is kept if the next one fails."""
        while True:
            changes = await self._rows.after(self._seen_revision)
            if changes.rows or changes.keys is not None:
                # Most refreshes find no rows, which need no thread.
                parsed = await asyncio.to_thread(_parse_all, changes.rows) if changes.rows else {}
                self._apply(changes, parsed)
            self._seen_revision = changes.revision
            if changes.keys is not None or not changes.rows:
                self._has_loaded = True
                return

    def _apply(self, changes: Changes, parsed: dict[str, Preset | None]) -> None:
        merged = {**self._presets, **parsed}
        self._presets = {
            key: preset
            for key, preset in merged.items()
            if preset is not None and (changes.keys is None or key in changes.keys)
        }

    async def _poll(self) -> None:
        was_unavailable = False
        while True:
            reason = await self._probe()
            if reason is not None and not was_unavailable:
                logs.event(
                    _log,
                    logging.WARNING,
                    "database unavailable: known presets keep working, none can be changed",
                    database=str(self._rows.database),
                    reason=reason,
                )
            if reason is None and was_unavailable:
                logs.event(_log, logging.INFO, "database available again", database=str(self._rows.database))
            was_unavailable = reason is not None
            await asyncio.sleep(self._poll_seconds)

    async def _probe(self) -> str | None:
        """The reason why the database cannot be used. Any error a driver raises leaves the poll running."""
        try:
            await self._gate.run(self._try_refresh)
        except DroverError as error:
            return str(error.__cause__ or error)
        except Exception as error:  # noqa: BLE001 - else presets would silently stay old until a restart
            self._failure = StoreUnavailable("the database of presets cannot be used; see this server's log")
            _log.error("presets cannot be read: unhandled exception", exc_info=error)
            return str(error)
        return None


def _parse_all(rows: Sequence[PresetRow]) -> dict[str, Preset | None]:
    return {row.key: _parse(row.name, row.document) for row in rows}


def _parse(name: str, document: str) -> Preset | None:
    """None for a document that cannot be read: the other presets stay usable."""
    try:
        return Preset.from_document(name, document)
    except (ValueError, KeyError, TypeError) as error:
        logs.event(_log, logging.ERROR, "preset cannot be read", preset=name, reason=repr(error))
        return None
