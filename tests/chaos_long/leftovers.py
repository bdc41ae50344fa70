"""What is left of requests when there are none: slots, memory, sockets, tasks that are not awaited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.chaos.fleet import Fleet, is_idle
from tests.support.processes import Process
from tests.support.waiting import until

_DEADLINE_SECONDS = 20.0
_GROWTH_BYTES = 64e6
# To each worker, and a few that come and go (probes of this test, gRPC's attempts).
_SOCKETS_PER_WORKER = 2
_FEW_SOCKETS = 4
_COUNTS = re.compile(r"^drover_frontend_(?:running|waiting)_requests\S* (\S+)$", re.MULTILINE)
_OF_LOST_TASKS = ("Traceback", "was never retrieved", "was destroyed but it is pending", " died")


@dataclass(frozen=True)
class Memory:
    """The largest of each tier, bytes."""

    worker: int
    frontend: int

    @classmethod
    def of(cls, fleet: Fleet) -> Memory:
        return cls(_largest(fleet.workers), _largest(fleet.frontends))

    def __str__(self) -> str:
        return f"workers {self.worker / 1e6:.0f} MB, frontends {self.frontend / 1e6:.0f} MB"


async def check_nothing_left(fleet: Fleet, before: Memory) -> Memory:
    everyone = range(len(fleet.workers))
    await until(lambda: is_idle(fleet, everyone), _DEADLINE_SECONDS, "no worker holds a slot")
    for front in fleet.frontends:
        counts = await _counts(front)
        assert counts
        assert set(counts) == {0.0}, f"{front.log.name} says that it has requests"
        most = _SOCKETS_PER_WORKER * len(fleet.workers) + _FEW_SOCKETS
        assert _sockets(front) <= most, f"{front.log.name} holds sockets"
    after = Memory.of(fleet)
    assert after.worker < before.worker + _GROWTH_BYTES, f"{before}, then {after}"
    assert after.frontend < before.frontend + _GROWTH_BYTES, f"{before}, then {after}"
    check_logs(fleet.folder)
    return after


async def _counts(front: Process) -> list[float]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        text = (await http.get(f"http://{front.address}/metrics")).text
    return [float(value) for value in _COUNTS.findall(text)]


def _sockets(process: Process) -> int:
    connections = psutil.Process(process.pid).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in connections)


def _largest(processes: Sequence[Process]) -> int:
    return max(psutil.Process(each.pid).memory_info().rss for each in processes)


def check_logs(folder: Path) -> None:
    for log in folder.glob("*.log"):
        text = log.read_text(errors="replace")
        found = [words for words in _OF_LOST_TASKS if words in text]
        assert not found, f"{log.name} has {found}:\n{text[-3000:]}"
