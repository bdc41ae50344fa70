"""Presets in the database, and what frontends know of them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drover.errors import InvalidRequest, StoreUnavailable
from frontend.database.base import Connection
from frontend.database.database import Database
from frontend.database.url import DatabaseUrl, parse_url
from frontend.models.preset_rows import PresetRows
from frontend.models.presets import Presets
from tests.support.postgres import Postgres
from tests.support.waiting import until
from tests.unit.frontend.conftest import TIMEOUT_SECONDS
from tests.unit.frontend.models.preset_factory import full_preset, name, preset

_NEVER_POLLS_SECONDS = 3600.0
_DEADLINE_SECONDS = 30.0
_IMPATIENT_SECONDS = 0.5


def _presets(
    database: Database,
    poll_seconds: float = _NEVER_POLLS_SECONDS,
    limit: int = 100,
    max_bytes: int = 1_000_000,
) -> Presets:
    return Presets(PresetRows(database, limit, max_bytes), poll_seconds)


@asynccontextmanager
async def _frontend(
    url: str, poll_seconds: float = _NEVER_POLLS_SECONDS, limit: int = 100, max_bytes: int = 1_000_000
) -> AsyncIterator[Presets]:
    presets = _presets(Database(parse_url(url), TIMEOUT_SECONDS), poll_seconds, limit, max_bytes)
    await presets.start()
    try:
        await presets.refresh()
        yield presets
    finally:
        await presets.stop()


async def _answers(frontend: Presets) -> bool:
    try:
        await frontend.refresh()
    except StoreUnavailable:
        return False
    return True


async def test_a_preset_is_known_where_it_was_made_and_after_a_restart(url: str) -> None:
    made = full_preset()
    async with _frontend(url) as frontend:
        await frontend.put(made)
        assert frontend.get(made.name.key) == made
    async with _frontend(url) as restarted:
        assert restarted.all() == [made]


async def test_a_refresh_reads_what_another_frontend_has_made(url: str) -> None:
    async with _frontend(url) as one, _frontend(url) as other:
        await one.put(preset())
        assert other.all() == []
        await other.refresh()
        assert other.all() == [preset()]


async def test_a_poll_sees_what_was_made_changed_and_deleted(url: str) -> None:
    key = preset().name.key
    async with _frontend(url) as one, _frontend(url, poll_seconds=0.02) as other:
        await one.put(preset())
        await until(lambda: bool(other.all()), _DEADLINE_SECONDS, "the poll sees a new preset")
        await one.put(preset(system="Be a parrot."))

        def is_changed() -> bool:
            known = other.get(key)
            return known is not None and known.system == "Be a parrot."

        await until(is_changed, _DEADLINE_SECONDS, "the poll sees the change")
        assert await one.delete(key)
        await until(lambda: not other.all(), _DEADLINE_SECONDS, "the poll sees the deletion")


async def test_names_are_the_same_in_any_letter_case(url: str) -> None:
    async with _frontend(url) as frontend:
        await frontend.put(preset("Pirate"))
        await frontend.put(preset("PIRATE", system="Second."))
        assert [each.system for each in frontend.all()] == ["Second."]
        assert await frontend.delete(preset("pirate").name.key)
        assert not await frontend.delete(preset("pirate").name.key)


async def test_the_limit_of_presets_holds(url: str) -> None:
    async with _frontend(url, limit=1) as frontend:
        await frontend.put(preset("a"))
        await frontend.put(preset("a", system="again"))
        with pytest.raises(InvalidRequest, match="1 presets already"):
            await frontend.put(preset("b"))
        assert len(frontend.all()) == 1


async def test_frontends_that_start_and_change_together_lose_nothing(url: str) -> None:
    """As processes, since that is what they are."""
    command = [sys.executable, "-m", "tests.unit.frontend.models.preset_factory", url]
    async with asyncio.timeout(60):
        makers = [await asyncio.create_subprocess_exec(*command, str(number)) for number in range(4)]
        assert [await maker.wait() for maker in makers] == [0, 0, 0, 0]
    async with _frontend(url) as frontend:
        assert len(frontend.all()) == 20


async def test_an_invalid_row_does_not_hide_others(url: str, database: Database) -> None:
    async with _frontend(url) as frontend:
        await frontend.put(preset())
    async with database.transaction() as connection:
        await connection.run("INSERT INTO presets VALUES ('x', 'x:latest', '?', 1)")
    async with _frontend(url) as frontend:
        assert frontend.all() == [preset()]


async def test_presets_stay_known_while_the_database_is_down(
    server: Postgres, request: pytest.FixtureRequest
) -> None:
    async with _frontend(server.url, poll_seconds=0.05) as frontend:
        await frontend.put(preset())
        server.stop()
        try:
            with pytest.raises(StoreUnavailable, match="try again later"):
                await frontend.put(preset("other"))
            with pytest.raises(StoreUnavailable):
                await frontend.refresh()
            assert frontend.all() == [preset()]
        finally:
            server.start()

        await until(lambda: _answers(frontend), _DEADLINE_SECONDS, "the database answers again")
        assert await frontend.delete(preset().name.key)


async def test_a_database_that_never_connected_fails_at_once() -> None:
    nowhere = "postgresql://user@127.0.0.1:1/nothing"
    presets = _presets(Database(parse_url(nowhere), TIMEOUT_SECONDS))
    await presets.start()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            results = await asyncio.gather(*(presets.refresh() for _ in range(50)), return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert not presets.has_loaded
    finally:
        await presets.stop()


async def test_many_presets_are_read_in_batches_that_stay_read(url: str) -> None:
    """With the longest templates there may be, which are not parsed when they are read."""
    long = replace(preset(), template="{{ .Prompt }}" * 5_000)
    async with _frontend(url, max_bytes=100_000_000) as frontend:
        for number in range(70):
            await frontend.put(replace(long, name=name(f"p{number}")))
        assert await frontend.delete(name("p3").key)
    database = _FailsAt(parse_url(url), third_of=3)
    restarted = _presets(database)
    with pytest.raises(StoreUnavailable):
        await restarted.refresh()
    assert not restarted.has_loaded
    assert len(restarted.all()) == 64
    await restarted.start()
    try:
        await until(lambda: restarted.has_loaded, _DEADLINE_SECONDS, "the rest is read")
        assert len(restarted.all()) == 69
        assert restarted.get(name("p69").key) is not None
    finally:
        await restarted.stop()


class _FailsAt(Database):
    """Its `third_of`th transaction finds the database away."""

    def __init__(self, url: DatabaseUrl, third_of: int) -> None:
        super().__init__(url, TIMEOUT_SECONDS)
        self._left = third_of

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        self._left -= 1
        if self._left == 0:
            raise StoreUnavailable("gone")
        async with super().transaction() as connection:
            yield connection


async def test_a_deletion_is_read_with_a_full_batch_of_changes(url: str) -> None:
    async with _frontend(url) as one, _frontend(url) as other:
        await one.put(preset("gone"))
        await other.refresh()
        await one.delete(name("gone").key)
        for number in range(32):
            await one.put(preset(f"p{number}"))
        await other.refresh()
        assert len(other.all()) == 32
        assert other.get(name("gone").key) is None


async def test_the_limit_of_bytes_holds(url: str) -> None:
    async with _frontend(url, max_bytes=1_000) as frontend:
        await frontend.put(preset(system="x" * 500))
        await frontend.put(preset(system="y" * 500))
        with pytest.raises(InvalidRequest, match="no room for"):
            await frontend.put(preset("second", system="z" * 500))
        assert [each.name.model for each in frontend.all()] == ["pirate"]


async def test_deleting_an_unknown_preset_changes_no_revision(url: str, database: Database) -> None:
    async with _frontend(url) as frontend:
        before = await PresetRows(database, 1, 1).after(-1)
        assert not await frontend.delete("nothing")
        assert (await PresetRows(database, 1, 1).after(-1)).revision == before.revision


async def test_a_change_to_an_invalid_document_removes_the_preset(url: str, database: Database) -> None:
    async with _frontend(url) as frontend:
        await frontend.put(preset())
        async with database.transaction() as connection:
            await connection.run("UPDATE presets SET document = '?', revision = 2")
            await connection.run("UPDATE catalog_state SET revision = 2")
        await frontend.refresh()
        assert frontend.all() == []


async def test_a_committed_change_needs_no_further_refresh(server: Postgres, url: str) -> None:
    """The response to a change must not depend on a further refresh."""
    database = _FailsAt(parse_url(url), third_of=3)
    presets = _presets(database)
    await presets.refresh()
    await presets.put(preset())
    assert presets.all() == [preset()]
    await presets.stop()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_database_that_hangs_costs_one_timeout(server: Postgres, url: str) -> None:
    presets = _presets(Database(parse_url(url), _IMPATIENT_SECONDS), poll_seconds=0.05)
    await presets.start()
    await until(lambda: presets.has_loaded, _DEADLINE_SECONDS, "the first look")
    await presets.put(preset())
    with server.hung():
        began = time.monotonic()
        results = await asyncio.gather(
            *(presets.refresh() for _ in range(5)), presets.put(preset("other")), return_exceptions=True
        )
        assert all(isinstance(result, StoreUnavailable) for result in results)
        # A cancelled call first gives up its connection, which takes the driver up to two seconds.
        assert time.monotonic() - began < _IMPATIENT_SECONDS + 3.0
        began = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await presets.refresh()
        assert time.monotonic() - began < 0.1
        assert presets.all() == [preset()]
    await until(lambda: _answers(presets), _DEADLINE_SECONDS, "the database answers again")
    await presets.stop()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_a_frontend_stops_while_the_database_hangs(server: Postgres, url: str) -> None:
    presets = _presets(Database(parse_url(url), TIMEOUT_SECONDS), poll_seconds=0.01)
    await presets.start()
    await until(lambda: presets.has_loaded, _DEADLINE_SECONDS, "the first look")
    with server.hung():
        began = time.monotonic()
        await presets.stop()
        assert time.monotonic() - began < TIMEOUT_SECONDS + 3.0


async def test_the_poll_survives_unknown_exceptions(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    database = _Broken(parse_url(f"sqlite:///{tmp_path / 'p.sqlite3'}"))
    presets = _presets(database, poll_seconds=0.01)
    await presets.start()
    try:
        await until(lambda: presets.has_loaded, _DEADLINE_SECONDS, "the poll continues")
        assert "presets cannot be read" in caplog.text
    finally:
        await presets.stop()


class _Broken(Database):
    """Its first transaction raises what no driver should."""

    def __init__(self, url: DatabaseUrl) -> None:
        super().__init__(url, TIMEOUT_SECONDS)
        self._is_broken = True

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        if self._is_broken:
            self._is_broken = False
            raise RuntimeError("surprise")
        async with super().transaction() as connection:
            yield connection
