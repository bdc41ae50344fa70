"""Blobs: bounded in size, number and time."""

from __future__ import annotations

import pytest

from drover.errors import StoreUnavailable
from frontend.models.blobs import Blobs
from frontend.models.database.database import Database

_DIGEST, _OTHER = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


async def test_a_stored_blob_exists(database: Database) -> None:
    blobs = Blobs(database, lifetime_seconds=60, max_bytes=100)

    assert not await blobs.has(_DIGEST)
    assert await blobs.put(_DIGEST, b"hello")
    assert await blobs.has(_DIGEST)
    assert not await blobs.put(_DIGEST, b"hello")


async def test_an_expired_blob_makes_room(database: Database) -> None:
    short = Blobs(database, lifetime_seconds=-1, max_bytes=10)

    assert await short.put(_DIGEST, b"x" * 10)
    assert not await short.has(_DIGEST)
    assert await short.put(_OTHER, b"y" * 10)


async def test_a_full_store_is_reported(database: Database) -> None:
    blobs = Blobs(database, lifetime_seconds=60, max_bytes=10)
    await blobs.put(_DIGEST, b"x" * 8)

    with pytest.raises(StoreUnavailable, match="8 of 10 bytes"):
        await blobs.put(_OTHER, b"yyy")
    assert not await blobs.has(_OTHER)
