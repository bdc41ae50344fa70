"""The counts in memory: written in batches, kept while the database is unavailable."""

from __future__ import annotations

import asyncio
import logging
import time

import pytest

from drover.errors import StoreUnavailable
from frontend.access.key import Key
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.observability.request_record import TokenCounts
from frontend.usage import ledger as module
from frontend.usage.ledger import MAX_MODELS, OTHER, UsageLedger
from frontend.usage.query import UsageQuery
from frontend.usage.rows import Batch, UsageRows
from frontend.usage.tally import Tally, UsageKey
from tests.support.cpu_time import within_cpu
from tests.support.postgres import Postgres
from tests.support.waiting import until
from tests.unit.frontend.usage.records import ALICE, ended

_ALL = UsageQuery("0001-01-01", "9999-12-31", limit=10_000)
_NOON = 1_796_040_000.0  # 2026-11-30
_DEADLINE_SECONDS = 30.0


class Switched(UsageRows):
    """Rows of a database that can fail, also after its commit."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.fails_before = self.fails_after = False
        self.batches: list[Batch] = []

    async def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self.fails_before:
            raise StoreUnavailable("away") from OSError("no route")
        await super().add(batch)
        if self.fails_after:
            raise StoreUnavailable("away") from TimeoutError("no answer")


@pytest.fixture
def rows(database: Database) -> Switched:
    return Switched(database)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WRITE_SECONDS", 0.01)


@pytest.fixture
def ledger(rows: Switched) -> UsageLedger:
    return UsageLedger(rows, 30, lambda: _NOON)


async def _read(rows: UsageRows) -> dict[UsageKey, Tally]:
    return {row.key: row.tally for row in await rows.read(_ALL)}


async def test_requests_are_summed_up_by_day_key_and_model(ledger: UsageLedger, rows: Switched) -> None:
    for record in (
        ended(key=ALICE),
        ended(key=ALICE, done=None, unfinished=TokenCounts(7, 1, 9)),
        ended("other:latest", key=ALICE, served="big:7b", prompt=1, cached=0, generated=0),
        ended(),
        ended(model="", served="", done=None, is_refused=True, key=ALICE),
        ended(model="", served="", done=None),
    ):
        ledger.count(record)
    await ledger.write()

    day = "2026-11-30"
    assert await _read(rows) == {
        UsageKey(day, "k1", "m:latest", "m:latest"): Tally(2, 0, 12, 3, 12),
        UsageKey(day, "k1", "other:latest", "big:7b"): Tally(1, 0, 1),
        UsageKey(day, "", "m:latest", "m:latest"): Tally(1, 0, 5, 2, 3),
        UsageKey(day, "k1", "", ""): Tally(1, 1),
    }
    assert {row.key_name for row in await rows.read(UsageQuery(day, day, key="k1"))} == {"alice"}


async def test_seconds_in_the_queue_and_at_the_worker(ledger: UsageLedger, rows: Switched) -> None:
    record = ended(granted_ns=time.perf_counter_ns() - 3_000_000_000)
    assert record.done is not None
    record.done.timings.queue_ns = 1_000_000_000
    ledger.count(record)
    await ledger.write()

    (tally,) = (await _read(rows)).values()
    assert tally.queued_us == 1_000_000
    assert 2_000_000 <= tally.running_us < 2_900_000


async def test_a_request_counts_for_the_day_of_its_end(rows: Switched) -> None:
    now = [_NOON]
    ledger = UsageLedger(rows, 30, lambda: now[0])
    ledger.count(ended())
    now[0] = _NOON + 12 * 3600 - 0.001
    ledger.count(ended())
    now[0] = _NOON + 12 * 3600
    ledger.count(ended())
    await ledger.write()

    assert {key.day: tally.requests for key, tally in (await _read(rows)).items()} == {
        "2026-11-30": 2,
        "2026-12-01": 1,
    }


@pytest.mark.parametrize("is_committed", [False, True])
async def test_counts_survive_an_unavailable_database_and_count_once(
    ledger: UsageLedger, rows: Switched, is_committed: bool
) -> None:
    rows.fails_before, rows.fails_after = not is_committed, is_committed
    ledger.count(ended())
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await ledger.write()
        ledger.count(ended())
    rows.fails_before = rows.fails_after = False
    await ledger.write()

    assert [tally.requests for tally in (await _read(rows)).values()] == [4]


async def test_more_rows_than_a_batch_has_are_all_written(
    ledger: UsageLedger, rows: Switched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 10)
    for number in range(25):
        ledger.count(ended(key=Key(f"k{number}", f"name {number}")))
    await ledger.write()

    assert [len(batch.tallies) for batch in rows.batches] == [10, 10, 5]
    assert {row.key_name for row in await rows.read(_ALL)} == {f"name {number}" for number in range(25)}


async def test_requests_that_end_meanwhile_do_not_keep_a_write_busy(
    ledger: UsageLedger, rows: Switched, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = rows.add

    async def add_under_load(batch: Batch) -> None:
        await add(batch)
        if len(rows.batches) < 5:
            ledger.count(ended())

    monkeypatch.setattr(rows, "add", add_under_load)
    ledger.count(ended())
    await ledger.write()
    assert len(rows.batches) == 1
    await ledger.write()
    assert [tally.requests for tally in (await _read(rows)).values()] == [2]


async def test_clients_that_make_models_cannot_fill_the_memory(
    ledger: UsageLedger, rows: Switched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_MODELS", 3)
    for number in range(10):
        ledger.count(ended(f"m{number}:latest", served="base:latest"))
    await ledger.write()

    found = {key.model: tally.requests for key, tally in (await _read(rows)).items()}
    assert found == {"m0:latest": 1, "m1:latest": 1, "m2:latest": 1, OTHER: 7}
    assert MAX_MODELS > 2_000


async def test_rows_beyond_the_bound_are_lost_and_logged(
    rows: Switched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    caplog.set_level(logging.INFO, logger="drover.usage")
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    ledger = UsageLedger(rows, 30)
    rows.fails_before = True
    ledger.count(ended("first:latest"))
    await ledger.start()
    await until(lambda: "cannot be written" in caplog.text, _DEADLINE_SECONDS, "it is logged")
    for number in range(5):
        ledger.count(ended(f"m{number}:latest"))
    rows.fails_before = False
    await until(lambda: "written again" in caplog.text, _DEADLINE_SECONDS, "it is logged")
    await ledger.stop()

    (again,) = [each.__dict__["fields"] for each in caplog.records if "written again" in each.getMessage()]
    assert again["lost_requests"] == 3
    assert len(await _read(rows)) == 3


async def test_an_outage_is_logged_once_and_what_is_lost_in_the_end(
    rows: Switched, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    ledger = UsageLedger(rows, 30)
    rows.fails_before = True
    ledger.count(ended())
    await ledger.start()
    await until(lambda: len(rows.batches) > 5, _DEADLINE_SECONDS, "it is tried again")
    ledger.count(ended())
    await ledger.stop()

    messages = [each.getMessage() for each in caplog.records if each.name == "drover.usage"]
    assert len(messages) == 2
    assert "cannot be written" in messages[0]
    assert caplog.records[-1].__dict__["fields"]["requests"] == 2
    assert "no route" in str(caplog.records[-1].__dict__["fields"]["reason"])


async def test_an_error_of_a_driver_does_not_end_the_writing(
    rows: Switched, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    ledger, add, failures = UsageLedger(rows, 30), rows.add, iter([OverflowError("too large")] * 3)

    async def fail_at_first(batch: Batch) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        await add(batch)

    monkeypatch.setattr(rows, "add", fail_at_first)
    ledger.count(ended())
    await ledger.start()
    await until(lambda: bool(rows.batches), _DEADLINE_SECONDS, "it is tried again")
    await ledger.stop()

    assert [tally.requests for tally in (await _read(rows)).values()] == [1]
    assert caplog.text.count("unhandled exception") == 1


async def test_stopping_writes_what_is_left(ledger: UsageLedger, rows: Switched) -> None:
    await ledger.start()
    await until(lambda: ledger._keeper is not None, _DEADLINE_SECONDS, "it runs")
    ledger.count(ended())
    await ledger.stop()

    assert [tally.requests for tally in (await _read(rows)).values()] == [1]


async def test_days_beyond_those_to_keep_are_deleted(database: Database, quick: None) -> None:
    rows = Switched(database)
    for number, day in enumerate(("2026-11-29", "2026-11-28", "2026-11-01")):
        key = UsageKey(day, "", "m:latest", "m:latest")
        await rows.add(Batch(f"w{number}", 1, {key: Tally(1)}, {}))
    ledger = UsageLedger(rows, 2, lambda: _NOON)
    ledger.count(ended())
    await ledger.start()

    async def days() -> set[str]:
        return {key.day for key in await _read(rows)}

    async with asyncio.timeout(_DEADLINE_SECONDS):
        while await days() != {"2026-11-30", "2026-11-29"}:  # noqa: ASYNC110 - the database has no event
            await asyncio.sleep(0.01)
    await ledger.stop()


async def test_counting_takes_microseconds(ledger: UsageLedger) -> None:
    record = ended(key=ALICE)
    with within_cpu(0.2):
        for _ in range(1_000):
            ledger.count(record)


async def test_a_database_that_restarts_gets_everything_once(server: Postgres) -> None:
    """With a real PostgreSQL that stops answering in the middle, and then goes away."""
    database = Database(parse_url(server.url), 0.5)
    rows = UsageRows(database)
    ledger = UsageLedger(rows, 30, lambda: _NOON)
    ledger.count(ended())
    await ledger.write()
    with server.hung():
        ledger.count(ended())
        with pytest.raises(StoreUnavailable):
            await ledger.write()
    ledger.count(ended())
    await ledger.write()
    server.stop()
    try:
        ledger.count(ended())
        with pytest.raises(StoreUnavailable):
            await ledger.write()
    finally:
        server.start()
    await ledger.write()

    try:
        assert [tally.requests for tally in (await _read(rows)).values()] == [4]
    finally:
        async with database.transaction() as connection:
            for table in ("usage", "usage_writers"):
                await connection.run(f"DELETE FROM {table}")
        await database.close()
