"""What keys have used, in the database, for all frontends.

Each frontend has a lease. The streams of one whose lease has expired are deleted by the next that comes by.
All times are the database's, so that the clocks of frontends need not agree.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from frontend.access.limits.bucket import MICROSECONDS
from frontend.database.base import Connection
from frontend.database.database import Database

# Keys of one statement: a driver bounds its parameters.
_AT_ONCE = 500
_KEEP_US = 86400 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """`requests` and `tokens`: levels of the buckets at `at_us`. `streams`: in flight on other frontends when
    read, and on this one when written.
    """

    requests: int = 0
    tokens: int = 0
    at_us: int = 0
    streams: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """`frontends`: those with a lease, this one included. `is_new`: this frontend had none, so that its
    streams are not in the database.
    """

    now_us: int
    frontends: int
    is_new: bool
    counts: Mapping[str, StoredCounts]


Settle = Callable[[Exchange], Mapping[str, StoredCounts]]


@dataclass(frozen=True, slots=True)
class SharedCounts:
    """The counts of one frontend process. All methods raise StoreUnavailable."""

    database: Database
    lease_seconds: float
    frontend: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def is_shared(self) -> bool:
        """True if other frontends may use the database."""
        return self.database.is_shared

    async def exchange(self, keys: Sequence[str], settle: Settle) -> None:
        """Read the keys' counts and write what `settle` makes of them, while no other frontend does."""
        async with self.database.exclusive() as (connection, now_us):
            is_new, frontends = await self._renew(connection, now_us)
            counts = await self._read(connection, keys)
            written = settle(Exchange(now_us, frontends, is_new, counts))
            await self._write(connection, written)

    async def leave(self) -> None:
        """Delete this frontend's streams and lease."""
        async with self.database.exclusive() as (connection, _):
            await self._delete(connection, [self.frontend])

    async def delete_unused(self) -> None:
        """Delete counts that have not changed for a day."""
        async with self.database.exclusive() as (connection, now_us):
            await connection.run("DELETE FROM key_counts WHERE at_unix_us < $1", now_us - _KEEP_US)

    async def _renew(self, connection: Connection, now_us: int) -> tuple[bool, int]:
        """Renew the lease, and delete what expired ones have. Returns whether it had none, and the number of
        frontends.
        """
        leases = dict(await connection.rows("SELECT frontend, lease_unix_us FROM limiting_frontends"))
        expired = [frontend for frontend, lease_us in leases.items() if lease_us < now_us]
        await self._delete(connection, expired)
        is_new = self.frontend not in leases or self.frontend in expired
        await connection.run(
            "INSERT INTO limiting_frontends (frontend, lease_unix_us) VALUES ($1, $2) "
            "ON CONFLICT (frontend) DO UPDATE SET lease_unix_us = excluded.lease_unix_us",
            *(self.frontend, now_us + round(self.lease_seconds * MICROSECONDS)),
        )
        return is_new, len(leases.keys() - expired) + is_new

    async def _delete(self, connection: Connection, frontends: Sequence[str]) -> None:
        for each in frontends:
            await connection.run("DELETE FROM key_streams WHERE frontend = $1", each)
            await connection.run("DELETE FROM limiting_frontends WHERE frontend = $1", each)

    async def _read(self, connection: Connection, keys: Sequence[str]) -> dict[str, StoredCounts]:
        found: dict[str, StoredCounts] = {}
        for part in _parts(keys):
            names = _places(len(part), 1)
            rows = await connection.rows(
                f"SELECT key_id, requests, tokens, at_unix_us FROM key_counts WHERE key_id IN ({names})",
                *part,
            )
            streams = await connection.rows(
                f"SELECT key_id, CAST(SUM(streams) AS BIGINT) FROM key_streams WHERE key_id IN ({names}) "
                f"AND frontend <> ${len(part) + 1} GROUP BY key_id",
                *(*part, self.frontend),
            )
            others = dict(streams)
            found |= dict.fromkeys(part, StoredCounts())
            found |= {key: StoredCounts(streams=count) for key, count in others.items()}
            for key, requests, tokens, at_us in rows:
                found[key] = StoredCounts(requests, tokens, at_us, others.get(key, 0))
        return found

    async def _write(self, connection: Connection, written: Mapping[str, StoredCounts]) -> None:
        for part in _parts([*written]):
            counts = [(key, written[key]) for key in part]
            await connection.run(
                f"INSERT INTO key_counts (key_id, requests, tokens, at_unix_us) VALUES {_rows(len(part), 4)} "
                "ON CONFLICT (key_id) DO UPDATE SET requests = excluded.requests, tokens = excluded.tokens, "
                "at_unix_us = excluded.at_unix_us",
                *(value for key, each in counts for value in (key, each.requests, each.tokens, each.at_us)),
            )
            await connection.run(
                f"INSERT INTO key_streams (key_id, frontend, streams) VALUES {_rows(len(part), 3)} "
                "ON CONFLICT (key_id, frontend) DO UPDATE SET streams = excluded.streams",
                *(value for key, each in counts for value in (key, self.frontend, each.streams)),
            )


def _parts(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[start : start + _AT_ONCE] for start in range(0, len(keys), _AT_ONCE)]


def _places(count: int, first: int) -> str:
    return ", ".join(f"${number}" for number in range(first, first + count))


def _rows(count: int, columns: int) -> str:
    return ", ".join(f"({_places(columns, row * columns + 1)})" for row in range(count))
