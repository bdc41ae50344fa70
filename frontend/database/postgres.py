"""PostgreSQL, through asyncpg and its pool of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from frontend.database.base import Value
from frontend.database.url import DatabaseUrl

_CONNECTIONS = 4
# Keys of advisory locks, which no other program of this database uses.
_LOCK = 7_238_911_042
_COUNTS_LOCK = _LOCK + 1


class PostgresConnection:
    """Implements Connection."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def run(self, statement: str, *values: Value) -> int:
        """Count the rows from the command tag, such as `INSERT 0 1`, which ends with the number."""
        status: str = await self._connection.execute(statement, *values)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def rows(self, statement: str, *values: Value) -> Sequence[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.fetch(statement, *values)]


class PostgresDriver:
    """Implements Driver."""

    errors = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    lock_schema = f"SELECT pg_advisory_xact_lock({_LOCK})"
    # The server ends a wait whose client has given up, and the transaction of one that hangs with the lock:
    # otherwise connections would pile up.
    lock_counts = (
        "SET LOCAL lock_timeout = '900ms'; SET LOCAL idle_in_transaction_session_timeout = '5s'; "
        f"SELECT pg_advisory_xact_lock({_COUNTS_LOCK})"
    )
    clock = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
    find_table = "SELECT 1 WHERE to_regclass($1::text) IS NOT NULL"

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._pool: asyncpg.Pool | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[PostgresConnection, None]:
        pool = await self._pooled()
        connection = await pool.acquire()
        try:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield PostgresConnection(connection)
            except Exception:
                if not connection.is_closed():
                    await transaction.rollback()
                raise
            await transaction.commit()
        except asyncio.CancelledError:
            # A server that does not respond would not confirm a rollback either.
            connection.terminate()
            raise
        finally:
            await pool.release(connection)

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    def drop(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def _pooled(self) -> asyncpg.Pool:
        if self._pool is None:
            url = self._url
            where = {"host": url.host, "port": url.port, "user": url.user, "password": url.password}
            self._pool = asyncpg.create_pool(
                **{**where, "database": url.database or None, **url.connect_args},
                min_size=0,
                max_size=_CONNECTIONS,
            )
            await self._pool
        return self._pool
