"""SQLite in a file, through aiosqlite: one connection, one transaction at a time."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiosqlite

from frontend.database.base import Value

_IN_MEMORY = ":memory:"


class SqliteConnection:
    """Implements Connection."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def run(self, statement: str, *values: Value) -> int:
        async with self._connection.execute(_numbered(statement), values) as cursor:
            return cursor.rowcount

    async def rows(self, statement: str, *values: Value) -> Sequence[tuple[Any, ...]]:
        found = await self._connection.execute_fetchall(_numbered(statement), values)
        return [tuple(row) for row in found]


class SqliteDriver:
    """Implements Driver. An empty `file` means a database in memory."""

    errors = (sqlite3.Error,)
    lock_schema = "BEGIN IMMEDIATE"
    lock_counts = lock_schema
    # Its clock has milliseconds.
    clock = "SELECT CAST(ROUND((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000"
    find_table = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = $1"

    def __init__(self, file: str, timeout_seconds: float) -> None:
        self._file = file or _IN_MEMORY
        self._timeout_seconds = timeout_seconds
        self._using = asyncio.Lock()
        self._connection: aiosqlite.Connection | None = None
        self._dropped: set[asyncio.Future[object]] = set()
        """Connections whose threads are still ending: they need the event loop until then."""

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[SqliteConnection, None]:
        async with self._using:
            connection = await self._connected()
            try:
                yield SqliteConnection(connection)
                await connection.commit()
            except Exception:
                await connection.rollback()
                raise
            except BaseException:
                # A statement that waits for another process's lock ends in its thread and is rolled back.
                self.drop()
                raise

    async def close(self) -> None:
        self.drop()
        if self._dropped:
            await asyncio.wait(self._dropped)

    def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and (ended := connection.stop()) is not None:
            self._await_end(ended)

    async def _connected(self) -> aiosqlite.Connection:
        if self._connection is None:
            if self._file != _IN_MEMORY:
                _make_private(Path(self._file))
            opening = asyncio.create_task(self._open(), name="open the database")
            try:
                self._connection = await asyncio.shield(opening)
            except asyncio.CancelledError:
                # Its thread cannot be interrupted.
                self._await_end(asyncio.create_task(_close_opened(opening), name="close the database"))
                raise
        return self._connection

    async def _open(self) -> aiosqlite.Connection:
        # The timeout for locks of other processes on the file.
        return await aiosqlite.connect(self._file, timeout=self._timeout_seconds)

    def _await_end(self, ended: asyncio.Future[Any]) -> None:
        self._dropped.add(ended)
        ended.add_done_callback(self._dropped.discard)


async def _close_opened(opening: asyncio.Task[aiosqlite.Connection]) -> None:
    with suppress(sqlite3.Error):
        await (await opening).close()


def _numbered(statement: str) -> str:
    return statement.replace("$", "?")


def _make_private(file: Path) -> None:
    """Create the file readable by this user only: it has system messages. An existing file is not changed."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
