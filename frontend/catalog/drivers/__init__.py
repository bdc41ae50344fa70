"""How each kind of database is reached. A frontend imports the driver of its own database only."""

from __future__ import annotations

from frontend.catalog.database_url import DatabaseUrl
from frontend.catalog.drivers.base import Driver


def driver_of(url: DatabaseUrl, timeout_seconds: float) -> Driver:
    """Connects when it is first used. `timeout_seconds`: how long to wait for others' locks on a file."""
    if url.is_sqlite:
        from frontend.catalog.drivers.sqlite import SqliteDriver

        return SqliteDriver(url.database, timeout_seconds)
    from frontend.catalog.drivers.postgres import PostgresDriver

    return PostgresDriver(url)
