"""The table of requests: counted exactly, ended from outside."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import ClientLeft, DroverError, InvalidRequest, WorkerDraining
from engine_worker.requests import RequestTable

_DEADLINE_SECONDS = 30.0


class _Work:
    """A request that runs until it is ended."""

    def __init__(self, table: RequestTable, request_id: str) -> None:
        self._table = table
        self._id = request_id
        self.held = asyncio.Event()
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with self._table.track(self._id):
            self.held.set()
            await asyncio.Event().wait()

    async def begun(self) -> _Work:
        await asyncio.wait_for(self.held.wait(), _DEADLINE_SECONDS)
        return self

    async def failure(self) -> DroverError:
        with pytest.raises(DroverError) as failed:
            await asyncio.wait_for(self.task, _DEADLINE_SECONDS)
        return failed.value


async def test_requests_are_counted_while_they_last() -> None:
    table = RequestTable()
    async with table.track("a"):
        async with table.track("b"):
            assert len(table) == 2
        assert len(table) == 1
    assert len(table) == 0


async def test_an_aborted_request_ends_with_the_reason_and_is_forgotten() -> None:
    table = RequestTable()
    work = await _Work(table, "a").begun()

    assert table.abort("a")

    assert type(await work.failure()) is ClientLeft
    assert len(table) == 0
    assert not table.abort("a")


async def test_an_abort_ends_no_other_request() -> None:
    table = RequestTable()
    one, other = await _Work(table, "a").begun(), await _Work(table, "ab").begun()

    table.abort("a")

    await one.failure()
    assert not other.task.done()
    assert len(table) == 1
    table.abort("ab")
    await other.failure()


async def test_the_first_reason_counts() -> None:
    table = RequestTable()
    work = await _Work(table, "a").begun()

    table.abort("a")
    assert table.end_all(WorkerDraining("drain timeout reached")) == 1

    assert type(await work.failure()) is ClientLeft


async def test_the_end_of_a_drain_ends_all_of_them() -> None:
    table = RequestTable()
    works = [await _Work(table, str(number)).begun() for number in range(5)]

    assert table.end_all(WorkerDraining("drain timeout reached")) == 5

    assert {type(await work.failure()) for work in works} == {WorkerDraining}
    assert await table.wait_empty(_DEADLINE_SECONDS)
    assert table.end_all(WorkerDraining("drain timeout reached")) == 0


async def test_an_id_in_use_is_refused_and_its_owner_continues() -> None:
    table = RequestTable()
    async with table.track("a"):
        with pytest.raises(InvalidRequest, match="'a'"):
            async with table.track("a"):
                raise AssertionError("it must not get in")
        assert len(table) == 1
    async with table.track("a"):
        assert len(table) == 1


async def test_waiting_for_the_last_one() -> None:
    table = RequestTable()
    assert await table.wait_empty(0.01)
    work = await _Work(table, "a").begun()
    assert not await table.wait_empty(0.01)
    waiting = asyncio.create_task(table.wait_empty(_DEADLINE_SECONDS))

    table.abort("a")

    await work.failure()
    assert await asyncio.wait_for(waiting, _DEADLINE_SECONDS)


@pytest.mark.parametrize("error", [ValueError("own"), TimeoutError("own"), WorkerDraining("own")])
async def test_a_failure_of_the_work_itself_passes_as_it_is(error: Exception) -> None:
    table = RequestTable()

    with pytest.raises(type(error), match=r"^own$"):
        async with table.track("a"):
            raise error
    assert len(table) == 0


async def test_a_cancelled_request_is_cancelled_and_forgotten() -> None:
    table = RequestTable()
    work = await _Work(table, "a").begun()

    work.task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await work.task
    assert len(table) == 0
    assert await table.wait_empty(0.01)
