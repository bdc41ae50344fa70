"""Resources that a frontend holds, and the check that it holds no more than before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.chaos.fleet import Fleet
from tests.support.processes import Process

# Of memory, before and after.
_GROWTH = 1.1
# Descriptors and tasks of a probe, a connection's end or a poll that are there by chance.
_BY_CHANCE = 3
_GAUGE = r"^drover_frontend_{}(?:{{\S*}})? (\S+)$"


@dataclass(frozen=True)
class Held:
    """By one frontend; `requests` run or wait, there or at its workers."""

    descriptors: int
    tasks: int
    connections: int
    body_bytes: int
    requests: int
    rss_mb: float

    @classmethod
    async def of(cls, front: Process, headers: Mapping[str, str]) -> Held:
        """`headers`: with a key that may read metrics, where keys are used."""
        async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
            answer = await http.get(f"http://{front.address}/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        text = answer.text
        return cls(
            descriptors(front.pid),
            _sum(text, "tasks"),
            _sum(text, "connections"),
            _sum(text, "body_bytes"),
            _sum(text, "running_requests") + _sum(text, "waiting_requests"),
            rss_mb(front),
        )

    def why_more_than(self, before: Held) -> str:
        """Empty where it is not."""
        if self.requests or self.body_bytes:
            return "requests are left"
        if self.descriptors > before.descriptors + _BY_CHANCE:
            return "descriptors are left"
        if self.tasks > before.tasks + _BY_CHANCE or self.connections > before.connections + _BY_CHANCE:
            return "tasks or connections are left"
        if self.rss_mb > before.rss_mb * _GROWTH:
            return "memory is left"
        return ""


def rss_mb(process: Process) -> float:
    return float(psutil.Process(process.pid).memory_info().rss / 1e6)


def slots_in_use(fleet: Fleet) -> int:
    return sum(fleet.running(number) for number in range(len(fleet.workers)))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _sum(text: str, gauge: str) -> int:
    return round(sum(map(float, re.findall(_GAUGE.format(gauge), text, re.MULTILINE))))
