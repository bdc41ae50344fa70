"""The database of presets and blobs: connections with a deadline, one boundary for errors, its schema."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from drover.errors import StoreUnavailable
from frontend.models.database.base import Connection
from frontend.models.database.drivers import driver_of
from frontend.models.database.migrations import SchemaError, migrate
from frontend.models.database.url import DatabaseUrl

_CLOSE_SECONDS = 2.0


class Database:
    """Connects when it is first used, and again whenever the database has been away."""

    def __init__(self, url: DatabaseUrl, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._driver = driver_of(url, timeout_seconds)
        self._errors: tuple[type[Exception], ...] = (*self._driver.errors, SchemaError, OSError)
        self._migrating = asyncio.Lock()
        self._migrated = False

    def __str__(self) -> str:
        return str(self._url)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """Committed at its end, rolled back by any error. Raises StoreUnavailable; why it is, which may be
        nobody's business but the operator's, is its cause.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._migrate()
                async with self._driver.transaction() as connection:
                    yield connection
        except TimeoutError:
            raise _unavailable() from TimeoutError(f"no answer within {self._timeout_seconds:g} s")
        except self._errors as error:
            raise _unavailable() from error

    async def close(self) -> None:
        """Connections to a database that hangs are dropped."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._driver.close()
        except self._errors:  # TimeoutError is an OSError.
            self._driver.drop()

    async def _migrate(self) -> None:
        """Once for each process."""
        async with self._migrating:
            if not self._migrated:
                async with self._driver.transaction() as connection:
                    await migrate(connection, self._driver)
                self._migrated = True


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("the database of presets cannot be used right now; try again later")
