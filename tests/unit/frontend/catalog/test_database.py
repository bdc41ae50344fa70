"""Where the database may be, and what is kept from others."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from drover.errors import StoreUnavailable
from frontend.catalog import database as database_module
from frontend.catalog.database import Database
from frontend.catalog.database_url import parse_url
from tests.unit.frontend.catalog.conftest import TIMEOUT_SECONDS


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://a/b", "oracle://x", "postgresql://a:b:c@d:e/f"])
def test_a_url_that_no_driver_takes_is_refused(url: str) -> None:
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
def test_an_option_that_nobody_knows_is_refused_without_its_value(url: str, what: str) -> None:
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
    assert str(where) == "postgresql+asyncpg://a:***@c/d"


async def test_a_file_and_its_folder_are_its_users_own(tmp_path: Path) -> None:
    file = tmp_path / "drover" / "presets.sqlite3"
    database = Database(parse_url(f"sqlite:///{file}"), TIMEOUT_SECONDS)
    async with database.transaction():
        pass
    await database.close()

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


async def test_a_schema_from_the_future_is_no_crash(url: str, database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    older = Database(parse_url(url), TIMEOUT_SECONDS)
    with pytest.raises(StoreUnavailable) as refused:
        async with older.transaction():
            pass
    assert "9999" in str(refused.value.__cause__)
    assert "9999" not in refused.value.message
    await older.close()
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))


async def test_a_path_with_a_percent_sign_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "100%s"
    folder.symlink_to(database_module._MIGRATIONS.parent)
    monkeypatch.setattr(database_module, "_MIGRATIONS", folder / "migrations")
    database = Database(parse_url(f"sqlite:///{tmp_path / 'p.sqlite3'}"), TIMEOUT_SECONDS)
    async with database.transaction():
        pass
    await database.close()
