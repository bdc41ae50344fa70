"""All presets: kept in memory, so that inference never waits for the database, and true to it, so that what
one frontend makes the others have at once.

Every change counts a revision up. A poll reads the revision and, when it has moved, the presets that are
new; whoever misses a name, or shows a list, looks at once instead of waiting for the poll.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from drover import logs
from drover.errors import DroverError, InvalidRequest, StoreUnavailable
from drover.go_template import TemplateError
from frontend.catalog.database import Database
from frontend.catalog.preset import Preset
from frontend.catalog.tables import catalog_state, presets

_log = logging.getLogger("drover.catalog")
# After a failure others are told so for a while, instead of each waiting for its own.
_FAILURE_LASTS_SECONDS = 1.0


class Presets:
    """`most`: how many there may be."""

    def __init__(self, database: Database, poll_seconds: float, most: int) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._most = most
        self._known: dict[str, Preset] = {}
        self._revision = -1
        self._looking = asyncio.Lock()
        self._looks_begun = 0
        self._looks_done = 0
        self._failure: StoreUnavailable | None = None
        self._failed_at = 0.0
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Does not wait: a frontend serves without its database."""
        self._poller = asyncio.create_task(self._poll(), name="poll presets")

    async def stop(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        await self._database.close()

    @property
    def has_looked(self) -> bool:
        """Whether the database has ever answered."""
        return self._revision >= 0

    def known(self) -> Sequence[Preset]:
        return list(self._known.values())

    def find_known(self, key: str) -> Preset | None:
        return self._known.get(key)

    async def look(self) -> None:
        """Afterwards everything is known that was committed when this was called. Raises StoreUnavailable."""
        wanted = self._looks_begun + 1
        async with self._looking:
            if self._looks_done >= wanted:
                return
            if self._failure is not None and time.monotonic() - self._failed_at < _FAILURE_LASTS_SECONDS:
                raise StoreUnavailable(self._failure.message)
            self._looks_begun += 1
            number = self._looks_begun
            try:
                async with self._database.transaction() as connection:
                    await self._read_changes(connection)
            except StoreUnavailable as error:
                self._failure, self._failed_at = error, time.monotonic()
                raise
            self._failure = None
            self._looks_done = number

    async def put(self, preset: Preset) -> None:
        """Makes or replaces. Raises StoreUnavailable, and InvalidRequest when there are too many."""
        key = preset.name.key
        async with self._database.transaction() as connection:
            revision = await _count_up(connection)
            await connection.execute(delete(presets).where(presets.c.key == key))
            await self._check_room(connection)
            row = {
                "key": key,
                "name": preset.name.full,
                "document": preset.to_document(),
                "revision": revision,
            }
            await connection.execute(insert(presets).values(row))
        await self.look()

    async def delete(self, key: str) -> bool:
        """Whether there was one. Raises StoreUnavailable."""
        async with self._database.transaction() as connection:
            await _count_up(connection)
            result = await connection.execute(delete(presets).where(presets.c.key == key))
        await self.look()
        return result.rowcount > 0

    async def _check_room(self, connection: AsyncConnection) -> None:
        count = (await connection.execute(select(func.count()).select_from(presets))).scalar_one()
        if count >= self._most:
            raise InvalidRequest(
                f"there are {count} presets already, as many as this server keeps; delete some"
            )

    async def _read_changes(self, connection: AsyncConnection) -> None:
        revision = (await connection.execute(select(catalog_state.c.revision))).scalar_one()
        if revision == self._revision:
            return
        # A database that was set back to an older state is read anew.
        seen = self._revision if revision > self._revision else -1
        keys = set((await connection.execute(select(presets.c.key))).scalars())
        known = {key: preset for key, preset in self._known.items() if key in keys}
        for row in await connection.execute(select(presets).where(presets.c.revision > seen)):
            if (preset := _read(row.name, row.document)) is not None:
                known[row.key] = preset
        self._known, self._revision = known, revision

    async def _poll(self) -> None:
        is_down = False
        while True:
            try:
                await self.look()
                if is_down:
                    logs.event(_log, logging.INFO, "database is back", database=str(self._database))
                is_down = False
            except DroverError as error:
                if not is_down:
                    logs.event(
                        _log,
                        logging.WARNING,
                        "database is away: served models go on, presets stay as they are",
                        database=str(self._database),
                        reason=error.message,
                    )
                is_down = True
            await asyncio.sleep(self._poll_seconds)


async def _count_up(connection: AsyncConnection) -> int:
    """First in each change: it takes the lock under which changes get their order."""
    await connection.execute(update(catalog_state).values(revision=catalog_state.c.revision + 1))
    return int((await connection.execute(select(catalog_state.c.revision))).scalar_one())


def _read(name: str, document: str) -> Preset | None:
    """One that cannot be read is as good as none, and the others go on."""
    try:
        preset = Preset.from_document(name, document)
        # Read once and kept, here where it can still be refused.
        _ = preset.parsed_template
    except (ValueError, KeyError, TypeError, TemplateError) as error:
        logs.event(_log, logging.ERROR, "a preset cannot be read", preset=name, reason=str(error))
        return None
    return preset
