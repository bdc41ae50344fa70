"""Presets as rows: read from a revision on, written and deleted one by one.

Every change counts the catalogue's revision up and gives it to its row, so no two rows have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from drover.errors import InvalidRequest
from frontend.catalog.database import Database
from frontend.catalog.preset import Preset
from frontend.catalog.tables import catalog_state, presets

# Of at most a quarter of a megabyte each, so that a slow line brings a batch within the deadline too.
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Changes:
    """`keys`: of all presets there are; None where nothing has changed or where more rows are to come.
    `revision`: what has been seen with these `rows`.
    """

    revision: int
    rows: Sequence[Row[tuple[str, str, str, int]]] = ()
    keys: frozenset[str] | None = None


class PresetRows:
    """`most`: how many there may be; `most_bytes`: what their documents may have together."""

    def __init__(self, database: Database, most: int, most_bytes: int) -> None:
        self.database = database
        self._most = most
        self._most_bytes = most_bytes

    async def after(self, seen: int) -> Changes:
        """The next batch after a revision. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            revision = await _revision(connection)
            if revision == seen:
                return Changes(revision)
            # A database that was set back to an older state is read anew.
            wanted = select(presets).where(presets.c.revision > (seen if seen < revision else -1))
            rows = (await connection.execute(wanted.order_by(presets.c.revision).limit(_BATCH))).all()
            if len(rows) == _BATCH and rows[-1].revision < revision:
                return Changes(rows[-1].revision, rows)
            keys = (await connection.execute(select(presets.c.key))).scalars()
            return Changes(revision, rows, frozenset(keys))

    async def write(self, preset: Preset) -> None:
        """Makes or replaces. Raises StoreUnavailable, and InvalidRequest where there is no room."""
        row = {"key": preset.name.key, "name": preset.name.full, "document": preset.to_document()}
        async with self.database.transaction() as connection:
            revision = await _count_up(connection)
            await connection.execute(delete(presets).where(presets.c.key == preset.name.key))
            await self._check_room(connection, len(row["document"]))
            await connection.execute(insert(presets).values({**row, "revision": revision}))

    async def delete(self, key: str) -> bool:
        """Whether there was one. Raises StoreUnavailable."""
        is_of_key = presets.c.key == key
        async with self.database.transaction() as connection:
            if (await connection.execute(select(presets.c.key).where(is_of_key))).first() is None:
                return False
            await _count_up(connection)
            return (await connection.execute(delete(presets).where(is_of_key))).rowcount > 0

    async def _check_room(self, connection: AsyncConnection, length: int) -> None:
        totals = select(func.count(), func.coalesce(func.sum(func.length(presets.c.document)), 0))
        count, used = (await connection.execute(totals.select_from(presets))).one()
        if count >= self._most:
            raise InvalidRequest(
                f"there are {count} presets already, as many as this server keeps; delete some"
            )
        if used + length > self._most_bytes:
            raise InvalidRequest(
                f"there is no room for {length} bytes more: the presets of this server have {used} of "
                f"{self._most_bytes} bytes; delete some"
            )


async def _revision(connection: AsyncConnection) -> int:
    return int((await connection.execute(select(catalog_state.c.revision))).scalar_one())


async def _count_up(connection: AsyncConnection) -> int:
    """First in each change: it takes the lock under which changes get their order."""
    await connection.execute(update(catalog_state).values(revision=catalog_state.c.revision + 1))
    return await _revision(connection)
