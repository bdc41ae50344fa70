"""Where the database may be, and what is kept from others."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from drover.errors import InvalidRequest, StoreUnavailable
from frontend.database.database import Database
from frontend.database.url import DatabaseUrl, parse_url
from frontend.models.blobs import Blobs
from frontend.models.preset_rows import PresetRows
from tests.unit.frontend.conftest import TIMEOUT_SECONDS
from tests.unit.frontend.models.preset_factory import preset


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://a/b", "oracle://x", "postgresql://a:b:c@d:e/f"])
def test_an_invalid_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite|driver"):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("postgresql://a@b/c?password=s3cret", "no option password"),
        ("postgresql://a@b/c?sslmode=s3cret", "sslmode must be one of disable"),
        ("sqlite:///file?mode=s3cret", "no option mode"),
    ],
)
def test_an_unknown_option_is_refused_without_its_value(url: str, what: str) -> None:
    with pytest.raises(ValueError, match=what) as refused:
        parse_url(url)
    assert "s3cret" not in str(refused.value)


def test_options_are_libpqs() -> None:
    where = parse_url("postgres://a:b@c/d?sslmode=require&application_name=drover&host=/run/pg")

    assert where.connect_args == {
        "ssl": "require",
        "server_settings": {"application_name": "drover"},
        "host": "/run/pg",
    }
    assert str(where) == "postgresql://a:***@c/d"


async def test_a_file_and_its_folder_are_its_users_own(tmp_path: Path) -> None:
    file = tmp_path / "drover" / "presets.sqlite3"
    database = Database(parse_url(f"sqlite:///{file}"), TIMEOUT_SECONDS)
    async with database.transaction():
        pass
    await database.close()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_an_unknown_schema_version_makes_the_database_unavailable(url: str, database: Database) -> None:
    async with database.transaction() as connection:
        ((version,),) = await connection.rows("SELECT version_num FROM alembic_version")
        await connection.run("UPDATE alembic_version SET version_num = '9999'")
    older = Database(parse_url(url), TIMEOUT_SECONDS)
    with pytest.raises(StoreUnavailable) as refused:
        async with older.transaction():
            pass
    assert "9999" in str(refused.value.__cause__)
    assert "9999" not in refused.value.message
    await older.close()
    async with database.transaction() as connection:
        await connection.run("UPDATE alembic_version SET version_num = $1", version)


async def test_a_path_with_a_percent_sign_is_a_path(tmp_path: Path) -> None:
    file = tmp_path / "100%s" / "p%20.sqlite3"
    database = Database(parse_url(f"sqlite:///{file}"), TIMEOUT_SECONDS)
    async with database.transaction():
        pass
    await database.close()
    assert file.exists()


# As versions of this program made it that used Alembic.
_MADE_BY_ALEMBIC = """
CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
CREATE TABLE presets (
    key VARCHAR(600) NOT NULL, name VARCHAR(600) NOT NULL, document TEXT NOT NULL, revision BIGINT NOT NULL,
    PRIMARY KEY (key)
);
CREATE TABLE catalog_state (id INTEGER NOT NULL, revision BIGINT NOT NULL, PRIMARY KEY (id));
INSERT INTO catalog_state VALUES (1, 1);
CREATE TABLE blobs (
    digest VARCHAR(71) NOT NULL, size_bytes BIGINT NOT NULL, data BLOB NOT NULL,
    expires_unix_ns BIGINT NOT NULL, PRIMARY KEY (digest)
);
CREATE INDEX ix_blobs_expires_unix_ns ON blobs (expires_unix_ns);
INSERT INTO alembic_version (version_num) VALUES ('0001');
"""


async def test_a_database_of_an_earlier_version_keeps_what_it_has(tmp_path: Path) -> None:
    file = tmp_path / "p.sqlite3"
    with closing(sqlite3.connect(file)) as made:
        made.executescript(_MADE_BY_ALEMBIC)
        made.execute("INSERT INTO presets VALUES (?, ?, ?, 1)", ("a", "a:latest", preset("a").to_document()))
        made.commit()
    database = Database(parse_url(f"sqlite:///{file}"), TIMEOUT_SECONDS)
    changes = await PresetRows(database, 10, 10_000).after(-1)
    assert [row.name for row in changes.rows] == ["a:latest"]
    assert await Blobs(database, 60, 1000).put("sha256:1", b"\x00x")
    await database.close()


async def test_an_error_rolls_back(database: Database) -> None:
    async def write_and_fail() -> None:
        async with database.transaction() as connection:
            await connection.run("UPDATE catalog_state SET revision = 7")
            raise InvalidRequest("no room")

    with pytest.raises(InvalidRequest):
        await write_and_fail()
    async with database.transaction() as connection:
        assert await connection.rows("SELECT revision FROM catalog_state") == [(0,)]


async def test_a_cancelled_call_rolls_back(database: Database) -> None:
    is_in = asyncio.Event()

    async def write_and_wait() -> None:
        async with database.transaction() as connection:
            await connection.run("UPDATE catalog_state SET revision = 7")
            is_in.set()
            await asyncio.Event().wait()

    writing = asyncio.create_task(write_and_wait())
    await is_in.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    async with database.transaction() as connection:
        await connection.run("UPDATE catalog_state SET revision = revision + 1")
        assert await connection.rows("SELECT revision FROM catalog_state") == [(1,)]


async def test_a_file_that_another_process_locks_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    file = tmp_path / "p.sqlite3"
    database = Database(parse_url(f"sqlite:///{file}"), 0.5)
    async with database.transaction():
        pass
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable):
            async with database.transaction() as connection:
                await connection.run("UPDATE catalog_state SET revision = 7")
        available = [database.is_available]
        other.rollback()
    async with database.transaction() as connection:
        assert await connection.rows("SELECT revision FROM catalog_state") == [(0,)]
    assert [*available, database.is_available] == [False, True]
    await database.close()


async def test_a_call_that_is_cancelled_while_the_file_opens_is_waited_for_at_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens, may_open = threading.Event(), threading.Event()
    connect = sqlite3.connect

    def slowly(file: str, timeout: float) -> sqlite3.Connection:
        opens.set()
        may_open.wait(TIMEOUT_SECONDS)
        return connect(file, timeout=timeout)

    monkeypatch.setattr(sqlite3, "connect", slowly)
    before = set(threading.enumerate())
    database = Database(parse_url(f"sqlite:///{tmp_path / 'p.sqlite3'}"), TIMEOUT_SECONDS)

    async def use() -> None:
        async with database.transaction():
            pass

    using = asyncio.create_task(use())
    await asyncio.to_thread(opens.wait, TIMEOUT_SECONDS)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    opening = [each for each in set(threading.enumerate()) - before if "connection" in each.name]
    closing_database = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    assert not closing_database.done()
    may_open.set()
    await closing_database

    # What its thread still reports to the event loop has been taken.
    assert opening
    for each in opening:
        each.join(TIMEOUT_SECONDS)
        assert not each.is_alive()


@pytest.mark.parametrize(
    ("text", "shown", "where"),
    [
        ("sqlite:///a/b.db", "sqlite:///a/b.db", DatabaseUrl("sqlite", "a/b.db")),
        ("sqlite:////a/b.db", "sqlite:////a/b.db", DatabaseUrl("sqlite", "/a/b.db")),
        (
            "postgresql://u%40x:p%2F/w@[::1]:5433/d",
            "postgresql://u@x:***@[::1]:5433/d",
            DatabaseUrl("postgresql", "d", "u@x", "p//w", "::1", 5433),
        ),
        ("postgres:///d", "postgresql:///d", DatabaseUrl("postgresql", "d")),
    ],
)
def test_parts_of_urls(text: str, shown: str, where: DatabaseUrl) -> None:
    parsed = parse_url(text)

    assert parsed == where
    assert str(parsed) == shown
    assert "p//w" not in repr(parsed)
