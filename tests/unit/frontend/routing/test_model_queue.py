"""ModelQueue and QueueTable: who waits, who is refused, who gets a worker, and what cancelling gives back."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from drover.errors import NoWorkerReady, QueueFull
from drover.v1 import engine_pb2 as pb
from frontend.routing.capacity import WorkerPermit
from frontend.routing.fair_queue import Ticket
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.model_queue import ModelQueue, QueuePosition, QueueTable, QueueWait
from frontend.routing.served_model import ServedModel, under_each_name
from tests.support.waiting import until

_SECONDS = 30.0
Acquired = asyncio.Task[tuple[WorkerPermit, QueueWait]]


class _Worker:
    """A worker with room for `free` more requests, and its own permits."""

    def __init__(self, free: int) -> None:
        self.free = free

    def grant(self, long_tokens: float = 0.0) -> _Worker:
        self.free -= 1
        return self

    def release(self) -> None:
        self.free += 1

    def select(self) -> ManagedWorker | None:
        return cast(ManagedWorker, self) if self.free else None


class _Line:
    """A queue for at most `limit` requests in front of one worker."""

    def __init__(self, free: int, limit: int = 100) -> None:
        self.worker = _Worker(free)
        self.queue = ModelQueue(lambda: len(self.queue) < limit, no_worker_timeout_seconds=0.0)
        self.is_ready = True

    def acquire(self, client: str, request_id: str = "", requeued: bool = False) -> Acquired:
        ticket = Ticket(client, request_id, 0, requeued)
        return asyncio.create_task(self.queue.acquire(ticket, self.worker.select, self._check_ready))

    async def wait(self, client: str, request_id: str = "", requeued: bool = False) -> Acquired:
        """Return a request that is queued."""
        before = len(self.queue)
        task = self.acquire(client, request_id, requeued)
        await until(lambda: len(self.queue) == before + 1, _SECONDS, "it waits")
        return task

    def free_one(self) -> None:
        self.worker.release()
        self.queue.dispatch()

    def _check_ready(self) -> None:
        if not self.is_ready:
            raise NoWorkerReady("none")


async def test_a_request_passes_while_a_worker_has_room_and_no_other_waits() -> None:
    line = _Line(free=1)
    _, wait = await line.acquire("earlier")
    assert (wait, line.worker.free) == (QueueWait(), 0)

    first, second = await line.wait("a"), await line.wait("b")
    line.free_one()
    _, wait = await first
    assert wait.position == 1
    assert not second.done()
    line.free_one()
    _, wait = await second
    assert wait.position == 2


async def test_a_full_queue_refuses_a_request_unless_another_client_has_more() -> None:
    line = _Line(free=0, limit=3)
    greedy = [await line.wait("greedy", str(number)) for number in range(3)]

    modest = line.acquire("modest")
    with pytest.raises(QueueFull):
        await greedy[2]
    with pytest.raises(QueueFull):
        await line.acquire("greedy")
    line.free_one()
    line.free_one()
    await asyncio.gather(greedy[0], modest)
    assert not greedy[1].done()
    greedy[1].cancel()


async def test_a_requeued_request_is_never_refused_and_goes_first() -> None:
    line = _Line(free=0, limit=1)
    new = await line.wait("a")
    requeued = await line.wait("b", requeued=True)
    line.free_one()
    await requeued
    assert not new.done()
    new.cancel()


async def test_a_cancelled_request_leaves_the_queue() -> None:
    line = _Line(free=0)
    task = await line.wait("a")
    task.cancel()
    await asyncio.wait({task})
    assert len(line.queue) == 0


async def test_a_request_that_is_cancelled_with_its_permit_gives_it_back() -> None:
    line = _Line(free=0)
    task = await line.wait("a")
    line.free_one()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert line.worker.free == 1


async def test_a_request_fails_while_no_worker_is_ready() -> None:
    line = _Line(free=0)
    waiting = await line.wait("a")
    line.is_ready = False
    with pytest.raises(NoWorkerReady):
        await line.acquire("b")
    with pytest.raises(NoWorkerReady):
        await waiting


def _model(name: str) -> ServedModel:
    (model,) = under_each_name(pb.Model(names=[name], digest=name))
    return model


async def test_the_table_counts_and_finds_what_waits_for_each_model() -> None:
    table, worker = QueueTable(max_waiting=2, no_worker_timeout_seconds=0.0), _Worker(0)

    def acquire(model: str, client: str, request_id: str) -> Acquired:
        waiting = table.queue(_model(model)).acquire(Ticket(client, request_id), worker.select, lambda: None)
        return asyncio.create_task(waiting)

    tasks = [acquire("one", "a", "same"), acquire("two", "b", "same")]
    await until(lambda: table.waiting == 2, _SECONDS, "they wait")
    assert table.waiting_by_model == {"one": 1, "two": 1}
    assert table.find("same", "b") == QueuePosition(1, 1, 0.0)
    assert table.find("same", "a monitor") == QueuePosition(1, 1, 0.0)
    assert table.find("other", "a") is None
    listed = table.first(5)
    assert [(each.model, each.ticket.client, each.position) for each in listed] == [
        ("one", "a", 1),
        ("two", "b", 1),
    ]
    assert all(0 <= each.seconds < _SECONDS for each in listed)
    assert [each.model for each in table.first(1)] == ["one"]
    with pytest.raises(QueueFull):
        await acquire("three", "c", "x")
    worker.release()
    table.dispatch()
    await tasks[0]
    tasks[1].cancel()


def test_empty_queues_of_models_that_are_gone_are_dropped() -> None:
    table = QueueTable(max_waiting=1, no_worker_timeout_seconds=0.0)
    for number in range(300):
        table.queue(_model(f"m{number}"))
    assert len(table.waiting_by_model) < 300


async def test_a_worker_is_not_given_to_a_request_that_has_failed() -> None:
    """A load fails on one host, and a worker of another becomes ready before the requests run again."""
    line = _Line(free=0)
    failed = [await line.wait("a"), await line.wait("b")]
    line.queue.fail_all(NoWorkerReady("cannot be loaded"))
    line.free_one()
    for task in failed:
        with pytest.raises(NoWorkerReady, match="cannot be loaded"):
            await task
    assert line.worker.free == 1
    assert len(line.queue) == 0


async def test_hosts_are_asked_when_requests_begin_to_wait_and_not_for_each() -> None:
    changes: list[int] = []
    worker = _Worker(free=0)
    queue = ModelQueue(lambda: True, 0.0, on_change=lambda: changes.append(len(queue)))
    tasks = [
        asyncio.create_task(queue.acquire(Ticket(f"{number}"), worker.select, lambda: None))
        for number in range(5)
    ]
    await until(lambda: len(queue) == 5, _SECONDS, "they wait")
    assert changes == [1]
    worker.free = 4
    queue.dispatch()
    await asyncio.gather(*tasks[:4])
    assert changes == [1]
    tasks[4].cancel()
    await asyncio.wait({tasks[4]})
    assert changes == [1, 0]
