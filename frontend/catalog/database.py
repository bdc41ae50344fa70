"""The database of presets and blobs: connections with a deadline, one boundary for errors, migrations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from drover.errors import StoreUnavailable

_MIGRATIONS = Path(__file__).parent / "migrations"
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
_CONNECTIONS = 4


def parse_url(text: str) -> URL:
    """Of `sqlite:///path` or `postgresql://user@host/name`. Raises ValueError for others."""
    try:
        url = make_url(text)
    except ArgumentError:
        raise ValueError(
            "it must be like sqlite:///path/file.sqlite3 or postgresql://user@host/name"
        ) from None
    driver = _DRIVERS.get(url.drivername, url.drivername)
    if driver not in _DRIVERS.values():
        raise ValueError(f"there is no driver for {url.drivername}; use sqlite or postgresql")
    return url.set(drivername=driver)


class Database:
    """Connects when it is first used, and again whenever the database has been away."""

    def __init__(self, url: URL, timeout_seconds: float) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._engine: AsyncEngine | None = None
        self._migrating = asyncio.Lock()
        self._migrated = False

    def __str__(self) -> str:
        return self._url.render_as_string(hide_password=True)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection, None]:
        """Committed at its end, rolled back by any error. Raises StoreUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._migrate()
                async with self._connect().begin() as connection:
                    yield connection
        except TimeoutError:
            raise self._unavailable(f"no answer within {self._timeout_seconds:g} s") from None
        except (SQLAlchemyError, OSError) as error:
            raise self._unavailable(_reason(error)) from error

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()

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

    @staticmethod
    def _unavailable(reason: str) -> StoreUnavailable:
        return StoreUnavailable(
            f"the database of presets cannot be used right now ({reason}); try again later"
        )


def _engine(url: URL, timeout_seconds: float) -> AsyncEngine:
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=_CONNECTIONS, max_overflow=0, pool_pre_ping=True)
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    # Others write to the same file: wait for them as long as for any database.
    return create_async_engine(url, connect_args={"timeout": timeout_seconds})


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _reason(error: SQLAlchemyError | OSError) -> str:
    """The driver's first line; SQLAlchemy's own adds the statement, which is for the log."""
    original = getattr(error, "orig", None) or error
    lines = str(original).splitlines()
    return lines[0] if lines else type(original).__name__
