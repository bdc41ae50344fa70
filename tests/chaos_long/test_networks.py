"""Workers in a network of their own: loss, delay, cuts, and partitions that only one frontend suffers.

Needs root, `ip` and `iptables`; without them these tests fail and say so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.chaos.clients import Crowd, Seen, body
from tests.chaos.fleet import MODEL, joins, load_of, until_joins
from tests.chaos_long.tally import Tally, failovers
from tests.chaos_long.traffic import ENGINE, Traffic, known_cases, write_scripts
from tests.support.namespace import Namespace, NoNamespaces, namespace
from tests.support.processes import Process, frontend, worker
from tests.support.tcp_proxy import proxy
from tests.support.waiting import until, wait_until

_DEADLINE_SECONDS = 30.0
_PORTS = (50051, 50052)
_STREAMS = 12
_TOKENS = 400
_SILENCE_SECONDS = 10.5


@pytest.fixture
def network() -> Iterator[Namespace]:
    try:
        with namespace(cables=2) as made:
            yield made
    except NoNamespaces as error:
        pytest.fail(str(error), pytrace=False)


@contextmanager
def _workers(folder: Path, network: Namespace) -> Iterator[list[Process]]:
    """One for each port, at the first cable's address; they listen on all cables."""
    with ExitStack() as started:
        yield [
            started.enter_context(
                worker(
                    folder / f"worker{port}.log",
                    *("--engine", "simulator", "--model", MODEL, *ENGINE, *write_scripts(folder)),
                    *("--listen", f"0.0.0.0:{port}"),
                    address=f"{network.cables[0].address}:{port}",
                    within=network.within,
                )
            )
            for port in _PORTS
        ]


@contextmanager
def _frontend(log: Path, workers: Sequence[str]) -> Iterator[Process]:
    with frontend(log, workers) as process:
        wait_until(lambda: joins(process) == len(workers), _DEADLINE_SECONDS, "all workers join")
        yield process


def _url(process: Process) -> str:
    return f"http://{process.address}"


def _running(address: str) -> int:
    report = load_of(address)
    return report.running + report.waiting


async def _idle(addresses: Sequence[str]) -> None:
    await until(lambda: not any(map(_running, addresses)), _DEADLINE_SECONDS, "no slot is held")


async def _at_work(addresses: Sequence[str], requests: int) -> None:
    await until(lambda: sum(map(_running, addresses)) >= requests, _DEADLINE_SECONDS, "they have work")


def _requests(name: str) -> list[dict[str, object]]:
    return [body(f"{name} {number}", _TOKENS) for number in range(_STREAMS)]


async def _undisturbed(url: str, name: str) -> list[Seen]:
    crowd = Crowd(url)
    crowd.send(_requests(name))
    return await crowd.all_seen()


def _count(tally: Tally, seen: Sequence[Seen], expected: Sequence[Seen]) -> None:
    for number, (one, other) in enumerate(zip(seen, expected, strict=True)):
        tally.saw(f"stream {number}", one, other)


async def test_five_percent_loss_and_200_ms_delay(
    tmp_path: Path, network: Namespace, tally: Tally, dice: random.Random, seconds: float
) -> None:
    with ExitStack() as started:
        workers = started.enter_context(_workers(tmp_path, network))
        lines = [started.enter_context(proxy(each.address, 0.2)) for each in workers]
        front = started.enter_context(_frontend(tmp_path / "frontend.log", [line.address for line in lines]))
        known = await known_cases(_url(front))
        network.lose(0.05)
        traffic = Traffic([_url(front)], known, dice, tally)
        traffic.start(12)
        await asyncio.sleep(seconds / 3)
        await traffic.stop()
        dropped = network.dropped()
        network.heal()
        tally.failovers = failovers(tmp_path)
        await _idle([each.address for each in workers])

    tally.notes.append(
        f"packets lost in and out: {dropped}; workers lost: {front.log_text().count('worker lost')}"
    )
    assert min(dropped) > 0
    assert tally.refused == 0
    tally.check()


@pytest.mark.parametrize("way", ["link down", "packets dropped"])
async def test_a_full_cut_and_its_healing(tmp_path: Path, network: Namespace, tally: Tally, way: str) -> None:
    """Two workers are behind the cable, and a third next to the frontend takes over what they had."""
    cable = network.cables[0]
    flags = ("--engine", "simulator", "--model", MODEL, *ENGINE, *write_scripts(tmp_path))
    with ExitStack() as started:
        far = [each.address for each in started.enter_context(_workers(tmp_path, network))]
        near = started.enter_context(worker(tmp_path / "near.log", *flags)).address
        front = started.enter_context(_frontend(tmp_path / "frontend.log", [*far, near]))
        expected = await _undisturbed(_url(front), "cut")
        crowd = Crowd(_url(front))
        crowd.send(_requests("cut"))
        await _at_work(far, _STREAMS // 2)
        await asyncio.sleep(1.0)
        cable.unplug() if way == "link down" else network.drop(cable)
        seen = await crowd.all_seen()
        joined = joins(front)
        cable.plug() if way == "link down" else network.heal()
        back = await until_joins(front, joined + 2, _DEADLINE_SECONDS)
        await _idle([*far, near])
        again = await _undisturbed(_url(front), "cut")
        _count(tally, [*seen, *again], [*expected, *expected])
        tally.failovers = failovers(tmp_path)

    tally.notes.append(f"back {back:.1f} s after the healing")
    tally.check()
    assert tally.failovers > 0
    assert tally.longest_gap_seconds < _SILENCE_SECONDS
    assert back < 5.0


async def test_a_partition_between_one_frontend_and_one_worker(
    tmp_path: Path, network: Namespace, tally: Tally
) -> None:
    """The other frontend has a cable of its own to the same worker, and notices nothing."""
    one, other = network.cables
    with ExitStack() as started:
        started.enter_context(_workers(tmp_path, network))
        at_one, at_other = ([f"{cable.address}:{port}" for port in _PORTS] for cable in (one, other))
        cut = started.enter_context(_frontend(tmp_path / "frontend-cut.log", at_one))
        well = started.enter_context(_frontend(tmp_path / "frontend-well.log", at_other))
        expected_cut = await _undisturbed(_url(cut), "cut")
        expected_well = await _undisturbed(_url(well), "well")
        crowd_cut, crowd_well = Crowd(_url(cut)), Crowd(_url(well))
        crowd_cut.send(_requests("cut"))
        crowd_well.send(_requests("well"))
        await _at_work(at_other, 2 * _STREAMS)
        await asyncio.sleep(1.0)
        network.drop(one, _PORTS[0])
        seen_well = await crowd_well.all_seen()
        seen_cut = await crowd_cut.all_seen()
        await until(lambda: _running(at_other[0]) == 0, _DEADLINE_SECONDS, "the orphans are freed")
        joined = joins(cut)
        network.heal()
        await until_joins(cut, joined + 1, _DEADLINE_SECONDS)
        _count(tally, [*seen_cut, *seen_well], [*expected_cut, *expected_well])
        tally.failovers = failovers(tmp_path)
        lost_there = well.log_text().count("worker lost")

    longest_well = max(each.longest_gap_seconds for each in seen_well)
    tally.notes.append(f"longest gap at the frontend that was not cut: {longest_well:.1f} s")
    tally.check()
    assert tally.failovers > 0
    assert lost_there == 0
    assert longest_well < 3.0
    assert tally.longest_gap_seconds < _SILENCE_SECONDS
