"""Blobs: bounded in size, number and time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drover.errors import InvalidRequest, StoreUnavailable
from frontend.database.database import Database
from frontend.models.adapter import Adapter, AdapterFile
from frontend.models.blobs import Blobs
from frontend.models.preset import Preset
from frontend.models.preset_rows import PresetRows
from tests.unit.frontend.models.preset_factory import name, preset

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


async def test_a_blob_is_read_in_pieces(database: Database) -> None:
    blobs = Blobs(database, lifetime_seconds=60, max_bytes=10_000_000)
    data = bytes(range(256)) * 10_000
    await blobs.put(_DIGEST, data)

    assert await blobs.size(_DIGEST) == len(data)
    pieces = [piece async for piece in blobs.pieces(_DIGEST, len(data))]
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) <= 1024 * 1024
    assert await blobs.size(_OTHER) is None
    assert [piece async for piece in blobs.pieces(_OTHER, 5)] == []


async def test_a_blob_of_an_adapter_stays_until_no_preset_needs_it(database: Database) -> None:
    blobs = Blobs(database, lifetime_seconds=-1, max_bytes=100)
    rows = PresetRows(database, limit=10, max_bytes=100_000)
    await blobs.put(_DIGEST, b"hello")
    assert not await blobs.has(_DIGEST)
    made = _with_adapter(_DIGEST)
    await rows.write(made)
    assert await blobs.has(_DIGEST)

    await blobs.release([_DIGEST])
    assert await blobs.has(_DIGEST)

    await rows.delete(made.name.key)
    await blobs.release([_DIGEST])
    assert not await blobs.has(_DIGEST)


async def test_a_preset_whose_blob_is_gone_is_not_written(database: Database) -> None:
    rows = PresetRows(database, limit=10, max_bytes=100_000)
    with pytest.raises(InvalidRequest, match="a blob of the adapter has expired"):
        await rows.write(_with_adapter(_OTHER))

    assert (await rows.after(-1)).keys == frozenset()


async def test_a_renewed_blob_lives_on_and_expires(database: Database) -> None:
    blobs = Blobs(database, lifetime_seconds=-1, max_bytes=100)
    await blobs.put(_DIGEST, b"hello")

    assert await replace(blobs, lifetime_seconds=60).renew([_DIGEST])
    assert await blobs.renew([_DIGEST])
    assert await blobs.has(_DIGEST)
    assert not await blobs.renew([_DIGEST, _OTHER])

    await blobs.release([_DIGEST])
    assert not await blobs.has(_DIGEST)


async def test_blobs_that_were_never_released_make_room(database: Database) -> None:
    """A frontend may end after it has deleted a preset."""
    blobs = Blobs(database, lifetime_seconds=60, max_bytes=10)
    rows = PresetRows(database, limit=10, max_bytes=100_000)
    await blobs.put(_DIGEST, b"12345")
    await blobs.put(_OTHER, b"123")
    deleted = _with_adapter(_DIGEST)
    await rows.write(deleted)
    await rows.write(replace(_with_adapter(_OTHER), name=name("other")))
    third = f"sha256:{'3' * 64}"
    with pytest.raises(StoreUnavailable):
        await blobs.put(third, b"123")

    await rows.delete(deleted.name.key)

    assert await blobs.put(third, b"123")
    assert await blobs.has(_OTHER)
    assert not await blobs.has(_DIGEST)


def _with_adapter(digest: str) -> Preset:
    return replace(preset(), adapter=Adapter((AdapterFile("adapter.gguf", digest, 5),)))
