"""The database: transactions with a timeout, errors as StoreUnavailable, migrations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from drover.errors import StoreUnavailable
from frontend.database.base import Connection, Driver
from frontend.database.migrations import SchemaError, migrate
from frontend.database.url import DatabaseUrl

_CLOSE_SECONDS = 2.0


class Database:
    """Connects on first use, and again after the database was unavailable."""

    def __init__(self, url: DatabaseUrl, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._driver = _driver_of(url, timeout_seconds)
        self._errors: tuple[type[Exception], ...] = (*self._driver.errors, SchemaError, OSError)
        self._migrating = asyncio.Lock()
        self._migrated = False
        self.is_available = True
        """False if its last use failed."""

    def __str__(self) -> str:
        return str(self._url)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """Commit at the end, roll back on any error. Raises StoreUnavailable, whose cause is for the
        operator's log only.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._migrate()
                async with self._driver.transaction() as connection:
                    yield connection
            self.is_available = True
        except TimeoutError:
            self.is_available = False
            raise _unavailable() from TimeoutError(f"no answer within {self._timeout_seconds:g} s")
        except self._errors as error:
            self.is_available = False
            raise _unavailable() from error

    @property
    def exists(self) -> bool:
        """False for a file that is not there: the first use would make it."""
        return not self._url.is_sqlite or not self._url.database or Path(self._url.database).exists()

    @property
    def is_shared(self) -> bool:
        """True for PostgreSQL, which several frontends may use."""
        return not self._url.is_sqlite

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[tuple[Connection, int], None]:
        """A transaction in which no other process changes the counts of keys, and the database's time in
        microseconds since 1970. Raises as `transaction`.
        """
        async with self.transaction() as connection:
            await connection.run(self._driver.lock_counts)
            now = await connection.rows(self._driver.clock)
            yield connection, int(now[0][0])

    async def close(self) -> None:
        """Close, and drop connections that do not close in time."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._driver.close()
        except self._errors:  # TimeoutError is an OSError.
            self._driver.drop()

    async def _migrate(self) -> None:
        """Migrate once per process."""
        async with self._migrating:
            if not self._migrated:
                async with self._driver.transaction() as connection:
                    await migrate(connection, self._driver)
                self._migrated = True


def _driver_of(url: DatabaseUrl, timeout_seconds: float) -> Driver:
    """Import only the driver of this database. `timeout_seconds`: wait for others' file locks."""
    if url.is_sqlite:
        from frontend.database.sqlite import SqliteDriver

        return SqliteDriver(url.database, timeout_seconds)
    from frontend.database.postgres import PostgresDriver

    return PostgresDriver(url)


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("the database cannot be used right now; try again later")
