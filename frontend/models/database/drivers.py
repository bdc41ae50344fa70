"""How each kind of database is reached. A frontend imports the driver of its own database only."""

from __future__ import annotations

from frontend.models.database.base import Driver
from frontend.models.database.url import DatabaseUrl


def driver_of(url: DatabaseUrl, timeout_seconds: float) -> Driver:
    """Connects when it is first used. `timeout_seconds`: how long to wait for others' locks on a file."""
    if url.is_sqlite:
        from frontend.models.database.sqlite import SqliteDriver

        return SqliteDriver(url.database, timeout_seconds)
    from frontend.models.database.postgres import PostgresDriver

    return PostgresDriver(url)
