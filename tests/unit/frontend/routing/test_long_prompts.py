"""Long prompts: how many run, what is left to short ones, and when short ones do not use it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.routing import model_queue
from frontend.routing.backends.delivery import events_of
from frontend.routing.discovery.static import Static
from frontend.routing.fleet import Fleet
from frontend.routing.long_prompts import LongPrompts
from frontend.routing.model_queue import QueuePosition, QueueTable
from frontend.routing.policies import policy_of
from frontend.routing.ticket import Ticket
from tests.fakes.fleets import ObservedFailovers
from tests.fakes.stalling_worker import STALL, StallingWorker, content, started
from tests.support.waiting import until
from tests.unit.frontend.routing.test_fleet import _name

_SECONDS = 30.0
_LONG = "word " * 2_000
_SHORT = "Good morning"
_REPORT = pb.LoadReport(running_limit=8, frontends=1)
_LIMITS = LongPrompts(1024, 25)


def _workers(count: int, report: pb.LoadReport = _REPORT) -> list[StallingWorker]:
    return [StallingWorker(f"w:{number}", (STALL,), report=report) for number in range(count)]


class _Load:
    """A fleet of `workers` and its requests, which stay until they are cancelled."""

    def __init__(self, fleet: Fleet, workers: Sequence[StallingWorker]) -> None:
        self.fleet = fleet
        self.workers = workers
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def waiting(self) -> int:
        return self.fleet.queues.waiting

    def sent(self, prompt: str) -> list[str]:
        """The workers that have got such a prompt."""
        return [
            worker.address
            for worker in self.workers
            for handle in worker.handles
            if handle.request.raw.endswith(prompt)
        ]

    async def send(self, prompt: str, client: str = "c", waits: bool = False) -> asyncio.Task[None]:
        """Return when it is at a worker or, if it `waits`, in the queue."""
        model = self.fleet.find(_name("m"))
        assert model is not None
        # A new beginning each time, so that no prefix cache has it.
        request = pb.GenerateRequest(raw=f"{len(self._tasks)} {prompt}")
        handle = self.fleet.submit(
            model, request, Ticket(client, f"r{len(self._tasks)}"), ObservedFailovers()
        )

        async def read() -> None:
            async for _ in events_of(handle):
                pass

        sent, waiting = len(self.sent("")), self.waiting
        self._tasks.append(asyncio.create_task(read()))
        await until(
            lambda: (
                (len(self.sent("")), self.waiting) == ((sent, waiting + 1) if waits else (sent + 1, waiting))
            ),
            _SECONDS,
            "it waits" if waits else "it is sent",
        )
        return self._tasks[-1]

    async def cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait({task})

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def _load(workers: Sequence[StallingWorker], limits: LongPrompts = _LIMITS) -> AsyncIterator[_Load]:
    by_address = {worker.address: worker for worker in workers}
    queues = QueueTable(512, 1.0, limits)
    fleet = Fleet([Static(list(by_address))], by_address.__getitem__, policy_of("prefix"), queues)
    await fleet.start()
    load = _Load(fleet, workers)
    try:
        await until(
            lambda: sum(each.ready for each in fleet.workers()) == len(workers), _SECONDS, "all are ready"
        )
        yield load
    finally:
        await load.stop()
        await fleet.stop()


async def test_a_worker_computes_one_long_prompt_at_a_time_and_short_ones_pass() -> None:
    async with _load(_workers(1)) as load:
        await load.send(_SHORT)
        first = await load.send(_LONG)
        await load.send(_LONG, waits=True)
        await load.send(_SHORT)
        await load.send(_SHORT, client="other")

        assert load.waiting == 1
        await load.cancel(first)
        await until(lambda: load.waiting == 0, _SECONDS, "the second one follows")


async def test_the_next_long_prompt_follows_when_the_first_token_of_the_one_before_has_come() -> None:
    workers = _workers(1)
    workers[0].steps = (started(), content("a"), STALL)
    async with _load(workers) as load:
        await load.send(_SHORT)
        for _ in range(3):
            await load.send(_LONG)
        workers[0].steps = (started(), STALL)
        await load.send(_LONG)
        await load.send(_LONG, waits=True)


async def test_two_prompts_that_are_little_longer_than_short_ones_run_together() -> None:
    async with _load(_workers(1)) as load:
        await load.send(_SHORT)
        await load.send("word " * 1000)
        await load.send("word " * 1000)
        await load.send("word " * 1000, waits=True)


async def test_without_short_prompts_one_more_long_one_waits_at_the_worker() -> None:
    async with _load(_workers(1)) as load:
        await load.send(_LONG)
        await load.send(_LONG)
        await load.send(_LONG, waits=True)


async def test_long_prompts_leave_places_to_short_ones() -> None:
    workers = _workers(1)
    workers[0].steps = (started(), content("a"), STALL)
    async with _load(workers) as load:
        await load.send(_SHORT)
        for _ in range(6):
            await load.send(_LONG)
        await load.send(_LONG, waits=True)
        await load.send(_SHORT)
        await load.send(_SHORT)


async def test_long_prompts_take_every_place_while_no_short_ones_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers = _workers(1)
    workers[0].steps = (started(), content("a"), STALL)
    async with _load(workers) as load:
        for _ in range(9):
            await load.send(_LONG)
        await load.send(_LONG, waits=True)


async def test_an_unused_reserve_is_given_to_long_prompts_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_queue, "_RESERVE_SECONDS", 0.5)
    workers = _workers(1)
    workers[0].steps = (started(), content("a"), STALL)
    async with _load(workers) as load:
        await load.send(_SHORT)
        for _ in range(6):
            await load.send(_LONG)
        await load.send(_LONG, waits=True)

        await until(lambda: load.waiting == 0, _SECONDS, "it gets a place of the reserve")


async def test_long_prompts_leave_kv_cache_to_short_ones() -> None:
    report = pb.LoadReport(running_limit=8, frontends=1, kv_tokens_total=10_100)
    workers = _workers(1, report)
    workers[0].steps = (started(), content("a"), STALL)
    async with _load(workers) as load:
        await load.send(_SHORT)
        for _ in range(3):
            await load.send(_LONG)  # 2,500 tokens each
        await load.send(_LONG, waits=True)


async def test_a_prompt_that_does_not_fit_into_the_share_of_long_ones_runs_alone() -> None:
    report = pb.LoadReport(running_limit=1, frontends=1, kv_tokens_total=1000)
    async with _load(_workers(1, report)) as load:
        await load.send(_SHORT)
        await load.send(_LONG)


async def test_of_several_workers_one_is_kept_free_of_long_prompts() -> None:
    async with _load(_workers(4)) as load:
        await load.send(_SHORT)
        for _ in range(3):
            await load.send(4 * _LONG)
        await load.send(4 * _LONG, waits=True)
        for _ in range(8):
            await load.send(_SHORT, client="other")

        busy = set(load.sent(4 * _LONG))
        assert len(busy) == 3
        later = load.sent(_SHORT)
        assert sum(address in busy for address in later) <= 1  # the one that came before them


async def test_all_frontends_keep_the_same_worker_free() -> None:
    kept = []
    for order in (1, -1):
        async with _load(_workers(4)[::order]) as load:
            await load.send(_SHORT)
            for _ in range(3):
                await load.send(_LONG)
            kept.append({each.address for each in load.workers} - set(load.sent(_LONG)))

    assert kept[0] == kept[1]


async def test_without_the_setting_no_prompt_is_long() -> None:
    async with _load(_workers(1), LongPrompts(0, 25)) as load:
        await load.send(_SHORT)
        for _ in range(8):
            await load.send(_LONG)


async def test_a_prompt_that_is_probably_cached_is_short() -> None:
    worker = StallingWorker(
        "w:1", (started(), pb.GenerateEvent(done=pb.Done(prompt_tokens=2500))), report=_REPORT
    )
    async with _load([worker]) as load:
        model = load.fleet.find(_name("m"))
        assert model is not None

        async def ask() -> None:
            handle = load.fleet.submit(model, pb.GenerateRequest(raw=_LONG), Ticket("c"), ObservedFailovers())
            async for _ in events_of(handle):
                pass

        await ask()
        worker.steps = (STALL,)
        tasks = [asyncio.create_task(ask()) for _ in range(3)]
        await until(lambda: len(worker.handles) == 4, _SECONDS, "none is held back")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_positions_while_long_prompts_are_held_back() -> None:
    async with _load(_workers(1)) as load:
        await load.send(_SHORT, "b")
        await load.send(_LONG, "a")
        for _ in range(3):
            await load.send(_LONG, "a", waits=True)
        for _ in range(7):
            await load.send(_SHORT, "b")
        await load.send(_SHORT, "c", waits=True)

        found = load.fleet.queues.find("r12", "c")
        assert found == QueuePosition(1, 4, 0.0)
        behind = load.fleet.queues.find("r4", "a")
        assert behind is not None
        assert behind.position == 4
