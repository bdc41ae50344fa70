"""A network that is cut or slow between a frontend and a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.chaos.clients import Crowd, body
from tests.chaos.fleet import MODEL, load_of
from tests.chaos.test_workers_die import SLOW
from tests.support.processes import Process, frontend, worker
from tests.support.tcp_proxy import Proxy, proxy
from tests.support.waiting import until, wait_until

_DEADLINE_SECONDS = 20.0
_STREAMS = 12


@contextmanager
def _two_workers(folder: Path, delay_seconds: float = 0.0) -> Iterator[tuple[Process, Proxy, Process]]:
    """The first worker is reached through a connection that tests control."""
    flags = ("--engine", "simulator", "--model", MODEL, *SLOW)
    with ExitStack() as begun:
        far = begun.enter_context(worker(folder / "far.log", *flags))
        near = begun.enter_context(worker(folder / "near.log", *flags))
        line = begun.enter_context(proxy(far.address, delay_seconds))
        entry = begun.enter_context(frontend(folder / "frontend.log", [line.address, near.address]))
        wait_until(
            lambda: entry.log_text().count("worker joined") == 2, _DEADLINE_SECONDS, "both workers join"
        )
        yield entry, line, far


def _requests(tokens: int) -> list[dict[str, object]]:
    return [body(f"far {number}", tokens) for number in range(_STREAMS)]


async def test_a_partition_loses_no_request_and_frees_the_slots_behind_it(tmp_path: Path) -> None:
    with _two_workers(tmp_path) as (entry, line, far):
        crowd = Crowd(f"http://{entry.address}")
        crowd.send(_requests(100))
        await until(lambda: load_of(far.address).running > 2, _DEADLINE_SECONDS, "the far one has work")
        await asyncio.sleep(0.3)
        began = asyncio.get_running_loop().time()
        line.cut()
        seen = await crowd.all_seen()
        await until(lambda: load_of(far.address).running == 0, _DEADLINE_SECONDS, "its slots are free")
        took = asyncio.get_running_loop().time() - began
        line.heal()
        await until(lambda: entry.log_text().count("worker joined") == 3, _DEADLINE_SECONDS, "it is back")

    assert [each.error for each in seen if not each.is_whole] == []
    assert max(each.longest_gap_seconds for each in seen) < 10.5
    # The answers there would have ended by themselves in 2.5 s; what is asked is that nothing is left.
    assert took < 15


async def test_requests_behind_a_partition_are_freed_within_ten_seconds(tmp_path: Path) -> None:
    with _two_workers(tmp_path) as (entry, line, far):
        crowd = Crowd(f"http://{entry.address}")
        crowd.send(_requests(4000))
        await until(lambda: load_of(far.address).running > 2, _DEADLINE_SECONDS, "the far one has work")
        line.cut()
        took = await until(
            lambda: load_of(far.address).running == 0, _DEADLINE_SECONDS, "the worker frees its orphans"
        )
        for task in crowd.tasks:
            task.cancel()
        await asyncio.wait(crowd.tasks)
        await crowd.client.aclose()

    assert took < 10.5


async def test_a_slow_network_causes_no_failover(tmp_path: Path) -> None:
    with _two_workers(tmp_path, delay_seconds=0.2) as (entry, _, far):
        crowd = Crowd(f"http://{entry.address}")
        crowd.send(_requests(60))
        await until(lambda: load_of(far.address).running > 0, _DEADLINE_SECONDS, "the far one has work")
        seen = await crowd.all_seen()
        log = entry.log_text()

    assert all(each.is_whole for each in seen)
    assert "worker lost" not in log
    assert '"failovers"' not in log
