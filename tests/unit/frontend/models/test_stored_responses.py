"""Stored responses over SQLite and PostgreSQL: owners, turns, limits, expiry, runners."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from drover.errors import QueueFull
from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.models.running_responses import Progress, RunningResponses
from frontend.models.stored_responses import MAX_TURNS, StoredResponse, StoredResponses, StoreLimits
from tests.unit.frontend.conftest import TIMEOUT_SECONDS

ME, OTHER = "key 1", "key 2"
LIMITS = StoreLimits(max_responses=100, max_bytes=100_000, lifetime_seconds=600)
FRAMES = [b"event: a\ndata: {}\n\n", b"event: b\ndata: {}\n\n", b"event: c\ndata: {}\n\n"]


@pytest.fixture
def store(database: Database) -> StoredResponses:
    return StoredResponses(database, LIMITS)


@pytest.fixture
async def second(url: str) -> AsyncIterator[Database]:
    """Another frontend's connection to the same database."""
    database = Database(parse_url(url), TIMEOUT_SECONDS)
    yield database
    await database.close()


def response(
    name: str,
    owner: str = ME,
    previous: str = "",
    size: int = 10,
    status: str = "completed",
    runner: RunningResponses | None = None,
) -> StoredResponse:
    lease = runner.lease_unix_ns() if runner else 0
    return StoredResponse(
        name, owner, status, b"d" * size, b"", previous, runner.runner if runner else "", lease
    )


def taken(size_bytes: int) -> None:
    """Any size may be read."""


async def names(store: StoredResponses, *wanted: str, owner: str = ME) -> list[str]:
    return [name for name in wanted if await store.get(name, owner) is not None]


async def test_a_response_is_its_owner_s(store: StoredResponses) -> None:
    mine = response("a")
    await store.put(mine)

    assert await store.get("a", ME) == mine
    assert await store.get("a", OTHER) is None
    assert not await store.delete("a", OTHER)
    assert await store.turns("a", OTHER, taken) == []


async def test_another_frontend_finds_it(store: StoredResponses, second: Database) -> None:
    await store.put(response("a"))

    assert await StoredResponses(second, LIMITS).get("a", ME) is not None


async def test_a_deleted_response_is_gone(store: StoredResponses, database: Database) -> None:
    await store.put(response("a"), FRAMES[0])

    assert await store.delete("a", ME)
    assert not await store.delete("a", ME)
    assert await store.get("a", ME) is None
    assert await _rows(database) == [0, 0, 0]


async def test_turns_are_in_order(store: StoredResponses) -> None:
    sizes: list[int] = []
    for name, previous in (("a", ""), ("b", "a"), ("c", "b"), ("d", "a")):
        await store.put(response(name, previous=previous))

    assert [turn.id for turn in await store.turns("c", ME, sizes.append)] == ["a", "b", "c"]
    assert [turn.id for turn in await store.turns("d", ME, sizes.append)] == ["a", "d"]
    assert sizes == [30, 20]


async def test_turns_without_their_beginning_say_so(store: StoredResponses) -> None:
    await store.put(response("a"))
    await store.put(response("b", previous="a"))
    await store.put(response("c", previous="b"))
    await store.delete("a", ME)

    first, *_ = await store.turns("c", ME, taken)
    assert (first.id, first.previous_id) == ("b", "a")


async def test_turns_have_a_limit(store: StoredResponses, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        await store.put(response(f"r{number}", previous=f"r{number - 1}" if number else ""))
    turns = "frontend.models.stored_responses._TURNS"
    monkeypatch.setattr(turns, _turns_of_at_most(3))

    assert [turn.id for turn in await store.turns("r3", ME, taken)] == ["r1", "r2", "r3"]


def _turns_of_at_most(most: int) -> str:
    from frontend.models import stored_responses

    return stored_responses._TURNS.replace(f"< {MAX_TURNS}", f"< {most}")


async def test_turns_that_are_too_large_are_not_read(store: StoredResponses) -> None:
    await store.put(response("a"))

    def refuse(size_bytes: int) -> None:
        raise QueueFull

    with pytest.raises(QueueFull):
        await store.turns("a", ME, refuse)


async def test_responses_expire(database: Database, store: StoredResponses) -> None:
    brief = StoredResponses(database, StoreLimits(100, 100_000, lifetime_seconds=0.01))
    await store.put(response("b"))
    await brief.put(response("a"), FRAMES[0])

    await asyncio.sleep(0.05)
    assert await names(store, "a", "b") == ["b"]
    assert await store.turns("a", ME, taken) == []
    assert await _rows(database) == [2, 2, 1]
    await store.delete_expired()
    assert await _rows(database) == [1, 1, 0]


async def test_a_new_response_removes_expired_ones(database: Database, store: StoredResponses) -> None:
    brief = StoredResponses(database, StoreLimits(100, 100_000, lifetime_seconds=0.01))
    await brief.put(response("a"))
    await asyncio.sleep(0.05)

    await store.put(response("b"))

    assert await _rows(database) == [1, 1, 0]


async def test_a_conversation_that_continues_lives_on(database: Database, store: StoredResponses) -> None:
    brief = StoredResponses(database, StoreLimits(100, 100_000, lifetime_seconds=60))
    await brief.put(response("a"))
    await brief.put(response("b", previous="a"))
    before_ns = time.time_ns()

    await store.turns("b", ME, taken)

    async with database.transaction() as connection:
        rows = await connection.rows("SELECT expires_unix_ns FROM responses")
    assert [row[0] >= before_ns + LIMITS.lifetime_seconds * 10**9 for row in rows] == [True, True]


async def test_the_number_of_responses_has_a_limit(database: Database) -> None:
    store = StoredResponses(database, StoreLimits(3, 100_000, 600))
    for name in "abcde":
        await store.put(response(name))

    assert await names(store, *"abcde") == ["c", "d", "e"]
    assert await _rows(database) == [3, 3, 0]


async def test_their_bytes_have_a_limit(database: Database) -> None:
    store = StoredResponses(database, StoreLimits(100, 1000, 600))
    for name in "abc":
        await store.put(response(name, size=400))

    assert await names(store, *"abc") == ["b", "c"]


async def test_an_owner_of_many_responses_displaces_its_own(database: Database) -> None:
    store = StoredResponses(database, StoreLimits(4, 100_000, 600))
    await store.put(response("small", owner=OTHER))
    for number in range(10):
        await store.put(response(f"large{number}", size=100))

    assert await store.get("small", OTHER) is not None
    assert await names(store, "large7", "large8", "large9") == ["large7", "large8", "large9"]


async def test_an_owner_of_many_small_responses_displaces_its_own(database: Database) -> None:
    store = StoredResponses(database, StoreLimits(4, 100_000, 600))
    await store.put(response("large", owner=OTHER, size=1000))
    for number in range(10):
        await store.put(response(f"small{number}"))

    assert await names(store, "large", owner=OTHER) == ["large"]
    assert await names(store, "small6", "small7", "small8", "small9") == ["small7", "small8", "small9"]


async def test_running_responses_are_not_displaced(database: Database) -> None:
    store = StoredResponses(database, StoreLimits(2, 100_000, 600))
    runner = RunningResponses(database, 30)
    await store.put(response("runs", status="queued", runner=runner))
    for name in "abc":
        await store.put(response(name))

    assert await names(store, "runs", *"abc") == ["runs", "c"]


async def test_a_runner_writes_progress_and_the_end(store: StoredResponses, database: Database) -> None:
    runner = RunningResponses(database, 30)
    await store.put(response("a", status="queued", runner=runner), FRAMES[0])

    assert await runner.renew([Progress("a", "in_progress", 1, FRAMES[1])]) == {"a"}
    assert (await _get(store)).status == "in_progress"
    assert await runner.end(Progress("a", "completed", 2, FRAMES[2]), b"whole")
    assert not await runner.end(Progress("a", "failed"), b"other")

    ended = await _get(store)
    assert (ended.status, ended.document, ended.is_running) == ("completed", b"whole", False)
    assert await runner.events("a", 0) == (0, b"".join(FRAMES))
    assert await runner.events("a", 1) == (1, b"".join(FRAMES[1:]))
    assert await runner.events("a", 9) == (2, FRAMES[2])
    assert await runner.renew([]) == set()


async def test_events_are_written_again_after_a_commit_that_was_not_confirmed(
    store: StoredResponses, database: Database
) -> None:
    runner = RunningResponses(database, 30)
    await store.put(response("a", status="queued", runner=runner), FRAMES[0])
    await runner.renew([Progress("a", "in_progress", 1, FRAMES[1])])

    await runner.renew([Progress("a", "in_progress", 1, FRAMES[1] + FRAMES[2])])

    assert await runner.events("a", 0) == (0, b"".join(FRAMES))
    assert await runner.end(Progress("a", "completed", 1, FRAMES[1] + FRAMES[2]), b"whole")
    assert await runner.events("a", 0) == (0, b"".join(FRAMES))


async def test_a_renewal_leaves_out_what_another_frontend_ended(
    store: StoredResponses, database: Database, second: Database
) -> None:
    runner, other = RunningResponses(database, 30), RunningResponses(second, 30)
    for name in ("a", "b", "c"):
        await store.put(response(name, status="queued", runner=runner))

    assert await other.end(Progress("a", "cancelled"), b"cancelled", runner.runner)
    assert not await other.end(Progress("c", "cancelled"), b"its runner has not seen this")
    await StoredResponses(second, LIMITS).delete("b", ME)

    progress = [Progress(name, "in_progress", 0, FRAMES[0]) for name in ("a", "b", "c")]
    assert await runner.renew(progress) == {"c"}
    assert (await _get(store)).document == b"cancelled"
    assert not await other.has_events("a")
    assert await other.has_events("c")


async def test_a_lease_runs_out_unless_it_is_renewed(store: StoredResponses, database: Database) -> None:
    runner = RunningResponses(database, 30)
    await store.put(response("a", status="queued", runner=runner))
    now_ns = runner.lease_unix_ns() - 30 * 10**9

    assert not (await _get(store)).is_lost(now_ns + 10 * 10**9)
    assert (await _get(store)).is_lost(now_ns + 40 * 10**9)
    await RunningResponses(database, 60, runner.runner).renew([])
    assert not (await _get(store)).is_lost(now_ns + 40 * 10**9)


async def _get(store: StoredResponses) -> StoredResponse:
    found = await store.get("a", ME)
    assert found is not None
    return found


async def _rows(database: Database) -> list[int]:
    async with database.transaction() as connection:
        counts = [
            await connection.rows(f"SELECT COUNT(*) FROM {table}")
            for table in ("responses", "response_documents", "response_events")
        ]
    return [rows[0][0] for rows in counts]
