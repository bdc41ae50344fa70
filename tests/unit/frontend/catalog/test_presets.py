"""Presets in the database, and what frontends know of them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from drover.errors import InvalidRequest, StoreUnavailable
from frontend.catalog.database import Database
from frontend.catalog.database_url import parse_url
from frontend.catalog.preset_rows import PresetRows
from frontend.catalog.presets import Presets
from frontend.catalog.tables import presets as table
from tests.support.postgres import Postgres
from tests.support.waiting import until
from tests.unit.frontend.catalog.conftest import TIMEOUT_SECONDS
from tests.unit.frontend.catalog.making import full_preset, preset

_NEVER_POLLS_SECONDS = 3600.0
_DEADLINE_SECONDS = 10.0


@asynccontextmanager
async def _frontend(
    url: str, poll_seconds: float = _NEVER_POLLS_SECONDS, most: int = 100, most_bytes: int = 1_000_000
) -> AsyncIterator[Presets]:
    database = Database(parse_url(url), TIMEOUT_SECONDS)
    presets = Presets(PresetRows(database, most, most_bytes), poll_seconds)
    await presets.start()
    try:
        await presets.look()
        yield presets
    finally:
        await presets.stop()


async def _answers(frontend: Presets) -> bool:
    try:
        await frontend.look()
    except StoreUnavailable:
        return False
    return True


async def test_a_preset_is_known_where_it_was_made_and_after_a_restart(url: str) -> None:
    made = full_preset()
    async with _frontend(url) as frontend:
        await frontend.put(made)
        assert frontend.find_known(made.name.key) == made
    async with _frontend(url) as restarted:
        assert restarted.known() == [made]


async def test_who_looks_sees_at_once_what_another_frontend_has_made(url: str) -> None:
    async with _frontend(url) as one, _frontend(url) as other:
        await one.put(preset())
        assert other.known() == []
        await other.look()
        assert other.known() == [preset()]


async def test_a_poll_sees_what_was_made_changed_and_deleted(url: str) -> None:
    key = preset().name.key
    async with _frontend(url) as one, _frontend(url, poll_seconds=0.02) as other:
        await one.put(preset())
        await until(lambda: bool(other.known()), _DEADLINE_SECONDS, "the poll sees a new preset")
        await one.put(preset(system="Be a parrot."))

        def is_changed() -> bool:
            known = other.find_known(key)
            return known is not None and known.system == "Be a parrot."

        await until(is_changed, _DEADLINE_SECONDS, "the poll sees the change")
        assert await one.delete(key)
        await until(lambda: not other.known(), _DEADLINE_SECONDS, "the poll sees the deletion")


async def test_names_are_the_same_in_any_letter_case(url: str) -> None:
    async with _frontend(url) as frontend:
        await frontend.put(preset("Pirate"))
        await frontend.put(preset("PIRATE", system="Second."))
        assert [each.system for each in frontend.known()] == ["Second."]
        assert await frontend.delete(preset("pirate").name.key)
        assert not await frontend.delete(preset("pirate").name.key)


async def test_there_are_no_more_than_there_may_be(url: str) -> None:
    async with _frontend(url, most=1) as frontend:
        await frontend.put(preset("a"))
        await frontend.put(preset("a", system="again"))
        with pytest.raises(InvalidRequest, match="1 presets already"):
            await frontend.put(preset("b"))
        assert len(frontend.known()) == 1


async def test_frontends_that_start_and_change_together_lose_nothing(url: str) -> None:
    """As processes, since that is what they are."""
    command = [sys.executable, "-m", "tests.unit.frontend.catalog.making", url]
    async with asyncio.timeout(60):
        makers = [await asyncio.create_subprocess_exec(*command, str(number)) for number in range(4)]
        assert [await maker.wait() for maker in makers] == [0, 0, 0, 0]
    async with _frontend(url) as frontend:
        assert len(frontend.known()) == 20


async def test_a_row_that_cannot_be_read_hides_no_other(url: str, database: Database) -> None:
    async with _frontend(url) as frontend:
        await frontend.put(preset())
    async with database.transaction() as connection:
        row = {"key": "x", "name": "x:latest", "document": "?", "revision": 1}
        await connection.execute(table.insert().values(row))
    async with _frontend(url) as frontend:
        assert frontend.known() == [preset()]


async def test_a_database_that_goes_away_leaves_what_is_known_and_comes_back(
    server: Postgres, request: pytest.FixtureRequest
) -> None:
    async with _frontend(server.url, poll_seconds=0.05) as frontend:
        await frontend.put(preset())
        server.stop()
        try:
            with pytest.raises(StoreUnavailable, match="try again later"):
                await frontend.put(preset("other"))
            with pytest.raises(StoreUnavailable):
                await frontend.look()
            assert frontend.known() == [preset()]
        finally:
            server.start()

        await until(lambda: _answers(frontend), _DEADLINE_SECONDS, "the database answers again")
        assert await frontend.delete(preset().name.key)


async def test_a_database_that_was_never_there_is_no_reason_to_wait() -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    presets = Presets(PresetRows(Database(parse_url(nowhere), TIMEOUT_SECONDS), 10, 1000), 3600.0)
    await presets.start()
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            results = await asyncio.gather(*(presets.look() for _ in range(50)), return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert not presets.has_looked
    finally:
        await presets.stop()


@pytest.mark.parametrize("text", ["", "nonsense", "mysql://a/b", "oracle://x"])
def test_a_url_that_no_driver_takes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"sqlite|driver"):
        parse_url(text)
