"""Presets as database rows: read since a revision, written and deleted one by one.

Every change increments the catalogue's revision and stores it in its row, so no two rows have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drover.errors import InvalidRequest
from frontend.database.base import Connection
from frontend.database.database import Database
from frontend.database.revision import Revision
from frontend.models.adapter import BLOB_EXPIRED
from frontend.models.blobs import keep_blobs
from frontend.models.preset import Preset

# Rows of at most 256 KiB: a batch must fit within the timeout on a slow connection too.
_BATCH = 32
_REVISION = Revision("catalog_state")


class PresetRow(NamedTuple):
    key: str
    name: str
    document: str
    revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """`keys`: those of all presets; None if nothing has changed or more rows follow. `revision`: the one that
    has been read with these `rows`.
    """

    revision: int
    rows: Sequence[PresetRow] = ()
    keys: frozenset[str] | None = None


class PresetRows:
    """`limit`: of presets; `max_bytes`: limit of their documents' total size."""

    def __init__(self, database: Database, limit: int, max_bytes: int) -> None:
        self.database = database
        self._limit = limit
        self._max_bytes = max_bytes

    async def after(self, seen: int) -> Changes:
        """The next batch of changes after the revision `seen`. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            revision = await _REVISION.read(connection)
            if revision == seen:
                return Changes(revision)
            # A database restored to an older state is read from the beginning.
            found = await connection.rows(
                "SELECT key, name, document, revision FROM presets WHERE revision > $1 "
                f"ORDER BY revision LIMIT {_BATCH}",
                seen if seen < revision else -1,
            )
            rows = [PresetRow(*row) for row in found]
            if len(rows) == _BATCH and rows[-1].revision < revision:
                return Changes(rows[-1].revision, rows)
            keys = await connection.rows("SELECT key FROM presets")
            return Changes(revision, rows, frozenset(key for (key,) in keys))

    async def write(self, preset: Preset) -> None:
        """Make or replace, and keep the blobs of its adapter. Raises StoreUnavailable, and InvalidRequest if
        there is no room, or if one of the blobs is gone.
        """
        key, document = preset.name.key, preset.to_document()
        async with self.database.transaction() as connection:
            revision = await _REVISION.increment(connection)
            await connection.run("DELETE FROM presets WHERE key = $1", key)
            await self._check_room(connection, len(document))
            if preset.adapter and not await keep_blobs(connection, preset.adapter.blob_digests):
                raise InvalidRequest(BLOB_EXPIRED)
            await connection.run(
                "INSERT INTO presets (key, name, document, revision) VALUES ($1, $2, $3, $4)",
                *(key, preset.name.full, document, revision),
            )

    async def delete(self, key: str) -> bool:
        """True if there was one. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            if not await connection.rows("SELECT 1 FROM presets WHERE key = $1", key):
                return False
            await _REVISION.increment(connection)
            return await connection.run("DELETE FROM presets WHERE key = $1", key) > 0

    async def _check_room(self, connection: Connection, length: int) -> None:
        totals = "SELECT COUNT(*), CAST(COALESCE(SUM(LENGTH(document)), 0) AS BIGINT) FROM presets"
        ((count, used),) = await connection.rows(totals)
        if count >= self._limit:
            raise InvalidRequest(
                f"there are {count} presets already, as many as this server keeps; delete some"
            )
        if used + length > self._max_bytes:
            raise InvalidRequest(
                f"there is no room for {length} bytes more: the presets of this server have {used} of "
                f"{self._max_bytes} bytes; delete some"
            )
