"""The database of presets and blobs: connections with a deadline, one boundary for errors, migrations."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from drover.errors import StoreUnavailable
from frontend.catalog.database_url import DatabaseUrl

_MIGRATIONS = Path(__file__).parent / "migrations"
_CONNECTIONS = 4
_CLOSE_SECONDS = 2.0


class Database:
    """Connects when it is first used, and again whenever the database has been away."""

    def __init__(self, url: DatabaseUrl, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._engine: AsyncEngine | None = None
        self._migrating = asyncio.Lock()
        self._migrated = False

    def __str__(self) -> str:
        return str(self._url)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection, None]:
        """Committed at its end, rolled back by any error. Raises StoreUnavailable; why it is, which may be
        nobody's business but the operator's, is its cause.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._migrate()
                async with self._connect().begin() as connection:
                    yield connection
        except TimeoutError:
            raise _unavailable() from TimeoutError(f"no answer within {self._timeout_seconds:g} s")
        except (SQLAlchemyError, CommandError, OSError) as error:
            raise _unavailable() from (getattr(error, "orig", None) or error)

    async def close(self) -> None:
        """Connections to a database that hangs are dropped."""
        if self._engine is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._engine.dispose()
        except (TimeoutError, SQLAlchemyError, OSError):
            self._engine.sync_engine.dispose(close=False)

    async def _migrate(self) -> None:
        """Once; Alembic's own state is one for the whole process."""
        async with self._migrating:
            if not self._migrated:
                async with self._connect().begin() as connection:
                    await connection.run_sync(_migrate)
                self._migrated = True

    def _connect(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = _engine(self._url, self._timeout_seconds)
        return self._engine


def _engine(where: DatabaseUrl, timeout_seconds: float) -> AsyncEngine:
    if not where.is_sqlite:
        return create_async_engine(
            where.url,
            pool_size=_CONNECTIONS,
            max_overflow=0,
            pool_pre_ping=True,
            connect_args=dict(where.connect_args),
        )
    if where.url.database and where.url.database != ":memory:":
        _make_private(Path(where.url.database))
    # Others write to the same file: wait for them as long as for any database.
    return create_async_engine(where.url, connect_args={"timeout": timeout_seconds})


def _make_private(file: Path) -> None:
    """System messages and licences are for this user's eyes. What is there already stays as it is."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))


def _migrate(connection: Connection) -> None:
    config = Config()
    # A % in it would begin a variable of the configuration's.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("the database of presets cannot be used right now; try again later")
