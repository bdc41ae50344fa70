"""Keys in both databases."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from frontend.access import key_rows
from frontend.access.database_keys import DatabaseKeys
from frontend.access.key import Key, KeyLimits, Role
from frontend.access.key_rows import KeyRows
from frontend.access.stored_key import Digest, KeyDocument
from frontend.database.database import Database

_DIGEST = "$scrypt$ln=14,r=8,p=1$" + "A" * 22 + "$" + "A" * 43


def _document(name: str, **fields: object) -> KeyDocument:
    return KeyDocument(name=name, digests=(Digest(text=_DIGEST),), **fields)


async def test_a_key_is_read_as_it_was_written(database: Database) -> None:
    rows = KeyRows(database)
    await rows.add(
        "k1",
        _document(
            "alice", role="admin", models=("a*", "b"), requests_per_minute=1, tokens_per_minute=2, streams=3,
            priority=4, weight=0.5, expires_unix=5.0,
        ),
    )  # fmt: skip
    (read,) = await rows.all()
    assert read.key == Key("k1", "alice", Role.ADMIN, ("a*", "b"), KeyLimits(1, 2, 3), 4, 0.5, 5.0)
    assert (await rows.find("alice"), await rows.find("k1")) == (read, read)


async def test_names_are_unique_among_keys_that_are_not_revoked(database: Database) -> None:
    rows = KeyRows(database)
    await rows.add("k1", _document("alice"))
    with pytest.raises(InvalidRequest, match="named 'alice' already"):
        await rows.add("k2", _document("alice"))
    await rows.change("k1", revoked_unix=1.0)
    await rows.add("k2", _document("alice"))
    assert (await rows.find("alice")).key.id == "k2"
    assert [key.key.id for key in await rows.all()] == ["k1", "k2"]


async def test_unknown_and_revoked_keys_are_not_found(database: Database) -> None:
    rows = KeyRows(database)
    with pytest.raises(InvalidRequest, match="not there"):
        await rows.find("bob")
    with pytest.raises(InvalidRequest, match="no key 'k1'"):
        await rows.change("k1", revoked_unix=1.0)
    await rows.add("k1", _document("bob"))
    await rows.change("k1", revoked_unix=1.0)
    with pytest.raises(InvalidRequest, match="is revoked"):
        await rows.find("bob")


async def test_a_frontend_reads_changes_in_batches(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_rows, "_BATCH", 2)
    rows, keys = KeyRows(database), DatabaseKeys(KeyRows(database))
    for number in range(5):
        await rows.add(f"k{number}", _document(f"name {number}"))
    await keys.refresh()
    assert sorted(keys.all) == [f"k{number}" for number in range(5)]
    await rows.change("k3", revoked_unix=1.0, digests=())
    await keys.refresh()
    assert [key_id for key_id, key in keys.all.items() if key.state() == "revoked"] == ["k3"]


async def test_a_row_that_cannot_be_read_refuses_its_key_only(database: Database) -> None:
    rows, keys = KeyRows(database), DatabaseKeys(KeyRows(database))
    await rows.add("k1", _document("alice"))
    await rows.add("k2", _document("bob"))
    await keys.refresh()
    async with database.transaction() as connection:
        await connection.run("UPDATE access_key_state SET revision = revision + 1")
        await connection.run("UPDATE access_keys SET document = 'x', revision = 3 WHERE id = 'k1'")
    await keys.refresh()
    assert list(keys.all) == ["k2"]


async def test_a_database_restored_to_an_older_state_is_read_anew(database: Database) -> None:
    rows, keys = KeyRows(database), DatabaseKeys(KeyRows(database))
    await rows.add("k1", _document("alice"))
    await rows.add("k2", _document("bob"))
    await keys.refresh()
    async with database.transaction() as connection:
        await connection.run("UPDATE access_key_state SET revision = 1")
        await connection.run("DELETE FROM access_keys WHERE id = 'k2'")
    await keys.refresh()
    assert list(keys.all) == ["k1"]
