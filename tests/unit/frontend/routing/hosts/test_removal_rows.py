"""The rows of removed models: bounded, and each one's deletion is one frontend's."""

from __future__ import annotations

import pytest

from drover.errors import StoreUnavailable
from frontend.database.database import Database
from frontend.routing.hosts import removal_rows
from frontend.routing.hosts.removal_rows import Removal, RemovalRows

ONE, OTHER = Removal("a", "one", "sha256:1"), Removal("b", "one", "sha256:1")


async def test_changes_are_read_once(database: Database) -> None:
    rows = RemovalRows(database, 60)
    first = await rows.after(-1)
    assert first.rows == []
    assert (await rows.after(first.revision)).rows is None
    await rows.add([ONE, OTHER])
    second = await rows.after(first.revision)
    assert set(second.rows or ()) == {ONE, OTHER}
    await rows.end(OTHER)
    assert (await rows.after(second.revision)).rows == [ONE]


async def test_one_frontend_deletes_at_a_time(database: Database) -> None:
    rows, another = RemovalRows(database, 60), RemovalRows(database, 60)
    await rows.add([ONE])
    assert not await rows.claim(OTHER)
    assert not await rows.claim(ONE._replace(manifest="sha256:2"))
    assert await rows.claim(ONE)
    assert not await another.claim(ONE)
    # It was removed once more.
    await rows.add([ONE])
    assert await RemovalRows(database, -1).claim(ONE)
    # The first one ended before it was done.
    assert await another.claim(ONE)
    await another.end(ONE)
    assert not await rows.claim(ONE)


async def test_a_removal_counts_for_a_time(database: Database) -> None:
    rows = RemovalRows(database, 60)
    await rows.add([ONE])
    async with database.transaction() as connection:
        await connection.run("UPDATE removed_models SET removed_unix_ns = 0")
    assert not await rows.claim(ONE)
    await rows.end_expired()
    assert (await rows.after(-1)).rows == []


async def test_there_are_only_so_many(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal_rows, "MAX_ROWS", 1)
    rows = RemovalRows(database, 60)
    await rows.add([ONE])
    await rows.add([ONE])
    with pytest.raises(StoreUnavailable, match="as many as this server remembers"):
        await rows.add([OTHER])
    assert (await rows.after(-1)).rows == [ONE]
