"""Removals as database rows: models that are to be deleted from the stores of hosts that are away.

Every change increments their revision, so that one read shows whether anything has changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drover.durations import NS_PER_SECOND
from drover.errors import StoreUnavailable
from frontend.database.base import Connection
from frontend.database.database import Database
from frontend.database.revision import Revision

KEPT_SECONDS = 30 * 86_400.0
"""A host that is away for longer gets its models back."""
MAX_ROWS = 4096
_REVISION = Revision("removal_state")
_KEPT_NS = round(KEPT_SECONDS * NS_PER_SECOND)


class Removal(NamedTuple):
    """`host`: id of its store; `name`: the key of the model's name; `manifest`: that it had there."""

    host: str
    name: str
    manifest: str


@dataclass(frozen=True, slots=True)
class Changes:
    """`rows`: all of them; None if nothing has changed."""

    revision: int
    rows: Sequence[Removal] | None = None


@dataclass(frozen=True, slots=True)
class RemovalRows:
    """`lease_seconds`: how long a frontend may be at a deletion. All methods raise StoreUnavailable."""

    database: Database
    lease_seconds: float

    async def after(self, seen: int) -> Changes:
        """What has changed since the revision `seen`."""
        async with self.database.transaction() as connection:
            revision = await _REVISION.read(connection)
            if revision == seen:
                return Changes(revision)
            rows = await connection.rows("SELECT host, name, manifest FROM removed_models")
        return Changes(revision, [Removal(*row) for row in rows])

    async def add(self, removals: Iterable[Removal]) -> None:
        """All of them or none. Also raises StoreUnavailable if there are too many."""
        now = time.time_ns()
        async with self.database.transaction() as connection:
            await _REVISION.increment(connection)
            await _delete_expired(connection, now)
            for each in removals:
                await connection.run(
                    "INSERT INTO removed_models (host, name, manifest, removed_unix_ns, lease_unix_ns) "
                    "VALUES ($1, $2, $3, $4, 0) ON CONFLICT (host, name) DO UPDATE SET "
                    "manifest = excluded.manifest, removed_unix_ns = excluded.removed_unix_ns, "
                    "lease_unix_ns = 0",
                    *(*each, now),
                )
            ((count,),) = await connection.rows("SELECT COUNT(*) FROM removed_models")
            if count > MAX_ROWS:
                raise StoreUnavailable(
                    f"{MAX_ROWS} models wait to be removed from worker hosts that are away, as many as this "
                    "server remembers; try again when a host is back"
                )

    async def claim(self, removal: Removal) -> bool:
        """True if it still counts, and no other frontend is at it."""
        now = time.time_ns()
        lease = now + round(self.lease_seconds * NS_PER_SECOND)
        async with self.database.transaction() as connection:
            claimed = await connection.run(
                "UPDATE removed_models SET lease_unix_ns = $4 WHERE host = $1 AND name = $2 "
                "AND manifest = $3 AND lease_unix_ns < $5 AND removed_unix_ns > $6",
                *(*removal, lease, now, now - _KEPT_NS),
            )
        return claimed > 0

    async def end(self, removal: Removal) -> None:
        """It is done, or counts no more."""
        async with self.database.transaction() as connection:
            await _REVISION.increment(connection)
            await connection.run(
                "DELETE FROM removed_models WHERE host = $1 AND name = $2 AND manifest = $3", *removal
            )

    async def end_expired(self) -> None:
        """Those of hosts that have been away for too long."""
        async with self.database.transaction() as connection:
            await _REVISION.increment(connection)
            await _delete_expired(connection, time.time_ns())


async def _delete_expired(connection: Connection, now: int) -> None:
    await connection.run("DELETE FROM removed_models WHERE removed_unix_ns <= $1", now - _KEPT_NS)
