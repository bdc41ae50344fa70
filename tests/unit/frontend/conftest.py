"""Both databases: SQLite in a file, and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from frontend.database.database import Database
from frontend.database.url import parse_url
from tests.support.postgres import Postgres, postgres

TIMEOUT_SECONDS = 5.0


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'folder' / 'presets.sqlite3'}"
        return
    server: Postgres = request.getfixturevalue("server")
    yield server.url
    database = Database(parse_url(server.url), TIMEOUT_SECONDS)
    async with database.transaction() as connection:
        for table in (
            *("presets", "blobs", "catalog_state", "alembic_version"),
            *("responses", "response_documents", "response_events"),
            *("access_keys", "access_key_state"),
            *("key_counts", "key_streams", "limiting_frontends"),
            *("usage", "usage_writers"),
            *("removed_models", "removal_state"),
        ):
            await connection.run(f"DROP TABLE IF EXISTS {table}")
    await database.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = Database(parse_url(url), TIMEOUT_SECONDS)
    yield database
    await database.close()
