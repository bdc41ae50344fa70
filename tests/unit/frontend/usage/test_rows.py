"""Usage in both databases: added up by several frontends, each batch once, and deleted in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.usage.query import UsageQuery
from frontend.usage.rows import Batch, UsageRow, UsageRows
from frontend.usage.tally import Tally, UsageKey
from tests.unit.frontend.conftest import TIMEOUT_SECONDS

_ALL = UsageQuery("0001-01-01", "9999-12-31")
_DAY = "2026-11-30"


def _key(model: str = "m:latest", key: str = "k1", day: str = _DAY) -> UsageKey:
    return UsageKey(day, key, model, model)


def _batch(number: int, tallies: Mapping[UsageKey, Tally], writer: str = "w", name: str = "alice") -> Batch:
    return Batch(writer, number, tallies, {key.key: name for key in tallies})


async def _read(rows: UsageRows, query: UsageQuery = _ALL) -> list[UsageRow]:
    return list(await rows.read(query))


async def test_batches_add_up(database: Database) -> None:
    rows = UsageRows(database)
    await rows.add(_batch(1, {_key(): Tally(1, 0, 5, 2, 3, 10, 20)}))
    await rows.add(_batch(2, {_key(): Tally(2, 1, 2**40, 0, 7, 1, 2)}, name="alice the second"))

    assert await _read(rows) == [UsageRow(_key(), "alice the second", Tally(3, 1, 5 + 2**40, 2, 10, 11, 22))]
    assert await rows.total(_ALL) == Tally(3, 1, 5 + 2**40, 2, 10, 11, 22)


async def test_a_batch_that_is_written_again_counts_once(database: Database) -> None:
    rows = UsageRows(database)
    batch = _batch(1, {_key(): Tally(1)})
    for _ in range(3):
        await rows.add(batch)
    await rows.add(_batch(1, {_key(): Tally(1)}, writer="another"))

    assert await rows.total(_ALL) == Tally(2)


async def test_two_frontends_add_to_the_same_rows_at_the_same_time(url: str, database: Database) -> None:
    other = Database(parse_url(url), TIMEOUT_SECONDS)
    await UsageRows(database).total(_ALL)
    keys = [_key(f"m{number}:latest") for number in range(20)]

    async def write(rows: UsageRows, writer: str, order: list[UsageKey]) -> None:
        for number in range(1, 21):
            await rows.add(_batch(number, {key: Tally(1, generated_tokens=2) for key in order}, writer))

    await asyncio.gather(
        write(UsageRows(database), "one", keys),
        write(UsageRows(other), "two", keys[::-1]),
        write(UsageRows(database), "three", keys[10:] + keys[:10]),
    )
    await other.close()

    found = await _read(UsageRows(database))
    assert len(found) == 20
    assert {(row.tally.requests, row.tally.generated_tokens) for row in found} == {(60, 120)}


async def test_what_a_query_finds(database: Database) -> None:
    rows = UsageRows(database)
    first, second = _key("A:latest", "k1", "2026-11-01"), _key("b:latest", "k2", "2026-11-02")
    await rows.add(_batch(1, {first: Tally(1)}, name="alice"))
    await rows.add(_batch(2, {second: Tally(2)}, name="bob"))

    async def found(query: UsageQuery) -> list[UsageKey]:
        return [row.key for row in await rows.read(query)]

    whole = ("2026-11-01", "2026-11-02")
    assert await found(UsageQuery(*whole)) == [first, second]
    assert await found(UsageQuery("2026-11-02", "2026-11-02")) == [second]
    assert await found(UsageQuery("2026-11-01", "2026-11-01")) == [first]
    assert await found(UsageQuery(*whole, key="k2")) == [second]
    assert await found(UsageQuery(*whole, key="bob")) == [second]
    assert await found(UsageQuery(*whole, model="a:latest")) == [first]
    assert await found(UsageQuery(*whole, own_key="k1")) == [first]
    assert await found(UsageQuery(*whole, own_key="k1", key="bob")) == []
    assert await rows.total(UsageQuery(*whole, own_key="k1")) == Tally(1)
    assert await rows.total(UsageQuery("2020-01-01", "2020-01-01")) == Tally()


async def test_pages_have_each_row_once(database: Database) -> None:
    rows = UsageRows(database)
    keys = [
        UsageKey(f"2026-11-0{day}", key, model, served)
        for day in (1, 2)
        for key in ("", "k1")
        for model in ("A:x", "a:x")
        for served in ("s:1", "s:2")
    ]
    await rows.add(_batch(1, {key: Tally(1) for key in keys}))

    after: UsageKey | None = None
    pages: list[list[UsageKey]] = []
    while after is not None or not pages:
        page = await rows.read(UsageQuery(_ALL.first, _ALL.last, limit=3, after=after))
        pages.append([row.key for row in page])
        after = page[-1].key if page else None

    seen = [key for page in pages for key in page]
    assert sorted(seen) == sorted(keys)
    assert max(map(len, pages)) == 3


async def test_old_days_are_deleted_in_small_transactions(database: Database) -> None:
    rows = UsageRows(database)
    old = {_key(f"m{number}:latest", day="2026-10-31"): Tally(1) for number in range(1_100)}
    await rows.add(_batch(1, old))
    await rows.add(_batch(1, {_key(day="2026-11-01"): Tally(1)}, writer="another"))
    await rows.delete_before("2026-11-01")

    assert [row.key.day for row in await _read(rows)] == ["2026-11-01"]
    async with database.transaction() as connection:
        assert await connection.rows("SELECT writer FROM usage_writers") == [("another",)]
