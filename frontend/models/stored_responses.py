"""Stored responses as database rows: kept until they expire, and found by their owner only.

A response is stored when it is complete. One that runs in the background has a row from the start, which the
frontend that runs it keeps alive (running_responses.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from drover.durations import NS_PER_SECOND
from frontend.database.base import Connection
from frontend.database.database import Database

RUNNING = ("queued", "in_progress")
# Turns of one conversation, which are read together.
MAX_TURNS = 2_000
_TABLES = ("responses", "response_documents", "response_events")
# Rows that are read or deleted at once.
_BATCH = 100
_MORE = 100


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`document`: the response object as JSON. `input`: the request's own items, a JSON array. `previous_id`:
    the response that it continues, or empty. `runner`: the frontend that runs it, or empty; `lease_unix_ns`:
    how long that frontend need not renew its lease.
    """

    id: str
    owner: str
    status: str
    document: bytes
    input: bytes
    previous_id: str = ""
    runner: str = ""
    lease_unix_ns: int = 0

    @property
    def is_running(self) -> bool:
        return self.status in RUNNING

    def is_lost(self, now_ns: int) -> bool:
        """True if its runner has stopped before its end."""
        return self.is_running and self.lease_unix_ns < now_ns


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """`max_responses`, `max_bytes`: of all responses together."""

    max_responses: int
    max_bytes: int
    lifetime_seconds: float


class StoredResponses:
    """All methods raise StoreUnavailable."""

    def __init__(self, database: Database, limits: StoreLimits) -> None:
        self.database = database
        self._limits = limits

    async def put(self, response: StoredResponse, events: bytes = b"") -> None:
        """Store a new response. Of too many, the oldest ones of the owner with most of them are deleted; of
        too many bytes, those of the owner with most bytes.

        `events`: the first ones, of a response that is streamed in the background.
        """
        now_ns = time.time_ns()
        size_bytes = len(response.document) + len(response.input) + len(events)
        async with self.database.transaction() as connection:
            await _delete_expired(connection, now_ns)
            await self._make_room(connection, size_bytes)
            await connection.run(
                "INSERT INTO responses (id, owner, previous_id, status, runner, lease_unix_ns, size_bytes, "
                "created_unix_ns, expires_unix_ns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                *(response.id, response.owner, response.previous_id, response.status, response.runner),
                *(response.lease_unix_ns, size_bytes, now_ns, self._expiry(now_ns)),
            )
            await connection.run(
                "INSERT INTO response_documents (id, document, input) VALUES ($1, $2, $3)",
                *(response.id, response.document, response.input),
            )
            if events:
                await connection.run(
                    "INSERT INTO response_events (id, first, frames) VALUES ($1, 0, $2)", response.id, events
                )

    async def get(self, response_id: str, owner: str) -> StoredResponse | None:
        """The owner's response; None for any other."""
        async with self.database.transaction() as connection:
            rows = await connection.rows(
                f"SELECT {_COLUMNS} FROM responses r JOIN response_documents d ON d.id = r.id "
                "WHERE r.id = $1 AND r.owner = $2 AND r.expires_unix_ns > $3",
                *(response_id, owner, time.time_ns()),
            )
        return _response(rows[0]) if rows else None

    async def is_alive(self, response_id: str, owner: str) -> bool:
        """True for the owner's response that runs and whose runner has not stopped."""
        async with self.database.transaction() as connection:
            rows = await connection.rows(
                "SELECT 1 FROM responses WHERE id = $1 AND owner = $2 AND status IN ($3, $4) "
                "AND lease_unix_ns >= $5 AND expires_unix_ns > $5",
                *(response_id, owner, *RUNNING, time.time_ns()),
            )
        return bool(rows)

    async def turns(
        self, response_id: str, owner: str, take: Callable[[int], None]
    ) -> Sequence[StoredResponse]:
        """The response and those that it continues, the oldest first; empty if it is not there. Where one of
        them is gone, or there are more than MAX_TURNS, the first one that is returned has a `previous_id`.
        All of them live for another lifetime. `take` is given their size in bytes before they are read, and
        may raise.
        """
        now_ns = time.time_ns()
        found = (response_id, owner, now_ns)
        async with self.database.transaction() as connection:
            ((size_bytes,),) = await connection.rows(
                f"{_TURNS} SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM turns", *found
            )
            take(size_bytes)
            rows = await connection.rows(
                f"{_TURNS} SELECT {_COLUMNS} FROM turns t JOIN responses r ON r.id = t.id "
                "JOIN response_documents d ON d.id = t.id ORDER BY t.turn DESC",
                *found,
            )
            await connection.run(
                f"UPDATE responses SET expires_unix_ns = $4 WHERE id IN ({_TURNS} SELECT id FROM turns)",
                *(*found, self._expiry(now_ns)),
            )
        return [_response(row) for row in rows]

    async def delete(self, response_id: str, owner: str) -> bool:
        """True if there was one."""
        async with self.database.transaction() as connection:
            found = await connection.rows(
                "SELECT 1 FROM responses WHERE id = $1 AND owner = $2 AND expires_unix_ns > $3",
                *(response_id, owner, time.time_ns()),
            )
            if found:
                await _delete(connection, response_id)
        return bool(found)

    async def delete_expired(self) -> None:
        async with self.database.transaction() as connection:
            await _delete_expired(connection, time.time_ns())

    def _expiry(self, now_ns: int) -> int:
        return now_ns + round(self._limits.lifetime_seconds * NS_PER_SECOND)

    async def _make_room(self, connection: Connection, size_bytes: int) -> None:
        """Running responses stay: their number has a limit of its own. A hundredth of the limit is freed with
        the rest, so that not every new response has to look for the largest owner.
        """
        while over := await self._excess(connection, size_bytes):
            measure = "COUNT(*)" if over[0] > 0 else "SUM(size_bytes)"
            rows = await connection.rows(_oldest_of_largest_owner(measure), *RUNNING)
            if not rows:
                return
            count = over[0] + self._limits.max_responses // _MORE
            used = over[1] + self._limits.max_bytes // _MORE
            for response_id, freed in rows:
                if count <= 0 and used <= 0:
                    break
                await _delete(connection, response_id)
                count, used = count - 1, used - freed

    async def _excess(self, connection: Connection, size_bytes: int) -> tuple[int, int] | None:
        """How many responses and bytes there would be too many; None if there is room."""
        totals = "SELECT COUNT(*), CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM responses"
        ((count, used),) = await connection.rows(totals)
        over = count + 1 - self._limits.max_responses, used + size_bytes - self._limits.max_bytes
        return over if max(over) > 0 else None


_COLUMNS = "r.id, r.owner, r.status, d.document, d.input, r.previous_id, r.runner, r.lease_unix_ns"
# A response and those that it continues. $1: its id, $2: the owner, $3: now.
_TURNS = (
    "WITH RECURSIVE turns (id, previous_id, size_bytes, turn) AS ("
    "SELECT id, previous_id, size_bytes, 0 FROM responses "
    "WHERE id = $1 AND owner = $2 AND expires_unix_ns > $3 "
    "UNION ALL SELECT r.id, r.previous_id, r.size_bytes, t.turn + 1 "
    "FROM responses r JOIN turns t ON r.id = t.previous_id "
    f"WHERE r.owner = $2 AND r.expires_unix_ns > $3 AND t.turn + 1 < {MAX_TURNS})"
)


def _oldest_of_largest_owner(measure: str) -> str:
    return (
        "SELECT id, size_bytes FROM responses WHERE status NOT IN ($1, $2) AND owner = "
        "(SELECT owner FROM responses WHERE status NOT IN ($1, $2) "
        f"GROUP BY owner ORDER BY {measure} DESC, owner LIMIT 1) "
        f"ORDER BY created_unix_ns, id LIMIT {_BATCH}"
    )


def _response(row: tuple[Any, ...]) -> StoredResponse:
    return StoredResponse(*row)


async def _delete(connection: Connection, response_id: str) -> None:
    for table in _TABLES:
        await connection.run(f"DELETE FROM {table} WHERE id = $1", response_id)


async def _delete_expired(connection: Connection, now_ns: int) -> None:
    expired = "SELECT id FROM responses WHERE expires_unix_ns <= $1"
    for table in reversed(_TABLES):
        await connection.run(f"DELETE FROM {table} WHERE id IN ({expired})", now_ns)
