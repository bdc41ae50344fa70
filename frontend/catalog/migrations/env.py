"""Runs the migrations on the connection that frontend.catalog.database hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from frontend.catalog.tables import metadata

# Frontends that start together must not all create the same tables. Any number that nobody else locks.
_LOCK = 7_238_911_042


def _run(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    else:
        connection.execute(text("BEGIN IMMEDIATE"))
    context.configure(connection=connection, target_metadata=metadata)
    context.run_migrations()


_run(context.config.attributes["connection"])
