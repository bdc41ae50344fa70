"""One scenario: a fleet, well-behaved clients, measurements, and the checks afterwards."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.attack.figures import Figures
from tests.attack.leftovers import Held, rss_mb, slots_in_use
from tests.attack.polite import Polite
from tests.attack.prober import Latencies
from tests.chaos.clients import body
from tests.chaos.fleet import Fleet, running_fleet
from tests.chaos_long.leftovers import check_logs
from tests.support.processes import ROOT, Process
from tests.support.waiting import until

# For /api/version, at the 95th percentile of the time that is the frontend's own (prober.Latencies): of some
# tens to hundreds of probes on a busy machine, the slowest few say more of that than of the frontend.
_MOST_MS = 100.0
_PROBER_ADDRESS = "127.0.0.9"
_SETTLE_SECONDS = 20.0
_WARM_UP_ANSWERS, _WARM_UP_AT_A_TIME = 200, 32
_POLITE = 8
_NO_HEADERS: Mapping[str, str] = {}
# Short enough that a scenario sees what a patient attacker sees.
SHORT = (
    "--header-timeout-seconds", "4", "--body-timeout-seconds", "3", "--write-timeout-seconds", "2",
)  # fmt: skip
WORKER = ("--sim-running-limit", "64", "--sim-answer-tokens-max", "4000000")


Attack = Callable[[int], Awaitable[object]]
"""On a frontend's port."""


@dataclass
class Scene:
    """`notes` go into the table."""

    fleet: Fleet
    polite: Polite
    notes: list[str] = field(default_factory=list)

    @property
    def front(self) -> Process:
        return self.fleet.frontends[0]

    @property
    def port(self) -> int:
        return int(self.front.address.rpartition(":")[2])

    @property
    def url(self) -> str:
        return self.fleet.url()


@asynccontextmanager
async def attacked(
    folder: Path,
    figures: Figures,
    frontend_flags: Sequence[str] = SHORT,
    worker_flags: Sequence[str] = WORKER,
    polite: int = _POLITE,
    rehearsed: Attack | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> AsyncIterator[Scene]:
    """What is done in it is the attack. `rehearsed` and `headers`: as in `measured`."""
    with running_fleet(folder, workers=1, worker_flags=worker_flags, frontend_flags=frontend_flags) as fleet:
        async with measured(fleet, figures, polite, rehearsed, headers) as scene:
            yield scene


@asynccontextmanager
async def measured(
    fleet: Fleet,
    figures: Figures,
    polite: int = _POLITE,
    rehearsed: Attack | None = None,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> AsyncIterator[Scene]:
    """Raises AssertionError for what is left, slow answers to others, and what polite clients missed.
    `headers`: of all but the attack, with an admin's key where keys are used.

    `rehearsed`: an attack that is made once before anything is measured. Python's allocator does not give
    back what a crowd of a thousand took and left in pieces, and takes from there for the next crowd. What
    leaks grows with each crowd, so the second one is what is measured.
    """
    front = fleet.frontends[0]
    await _warm_up(fleet, headers)
    if rehearsed is not None:
        await rehearsed(int(front.address.rpartition(":")[2]))
        await until(lambda: slots_in_use(fleet) == 0, _SETTLE_SECONDS, "the rehearsal is over")
    before = await Held.of(front, headers)
    began = time.monotonic()
    with _prober(front, fleet.folder) as prober:
        watch = asyncio.create_task(_watch_memory(front, figures), name="watch memory")
        crowd = Polite(fleet.url(), polite, headers)
        scene = Scene(fleet, crowd, figures.notes)
        try:
            yield scene
        finally:
            await crowd.stop()
            watch.cancel()
        latencies = await asyncio.to_thread(_latencies, prober)
    figures.seconds, figures.latencies = time.monotonic() - began, latencies
    figures.before, figures.polite = before, crowd.answered
    figures.after = await _settled(fleet, before, headers)
    if crowd.busy:
        figures.notes.append(f"polite clients were refused as busy {crowd.busy} times and came again")
    assert not (why := figures.after.why_more_than(before)), f"{why}: {before}, then {figures.after}"
    assert not crowd.failures, crowd.failures[:5]
    assert crowd.answered or not polite
    assert not latencies.failed, (fleet.folder / "prober.log").read_text()[-2000:]
    assert latencies.own_p95 < _MOST_MS, latencies
    check_logs(fleet.folder)


async def _warm_up(fleet: Fleet, headers: Mapping[str, str]) -> None:
    """Ordinary traffic at its height: caches, pools of connections and threads are there before memory and
    descriptors are measured.
    """
    limits = httpx.Limits(max_connections=_WARM_UP_AT_A_TIME)
    async with httpx.AsyncClient(
        base_url=fleet.url(), headers=headers, limits=limits, trust_env=False, timeout=_SETTLE_SECONDS
    ) as http:
        chats = [http.post("/api/chat", json=body(f"warm {number}", 8)) for number in range(_WARM_UP_ANSWERS)]
        blobs = [http.head(f"/api/blobs/sha256:{number:064x}") for number in range(_WARM_UP_AT_A_TIME)]
        long = [http.post("/api/chat", json=body("x" * 2_000_000, 8)) for _ in range(2)]
        answers = await asyncio.gather(*chats, *blobs, *long)
    assert {answer.status_code for answer in answers} <= {200, 404}
    await until(lambda: slots_in_use(fleet) == 0, _SETTLE_SECONDS, "the warm-up is over")


async def _settled(fleet: Fleet, before: Held, headers: Mapping[str, str]) -> Held:
    """As soon as nothing is left, or after a while as it is."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        held = await Held.of(fleet.frontends[0], headers)
        in_use = await asyncio.to_thread(slots_in_use, fleet)
        if not (in_use or held.why_more_than(before)):
            return held
        if time.monotonic() > deadline:
            assert not in_use, f"{in_use} slots are in use"
            return held
        await asyncio.sleep(0.2)


async def _watch_memory(front: Process, figures: Figures) -> None:
    with suppress(ProcessLookupError):
        while True:
            figures.peak_mb = max(figures.peak_mb, rss_mb(front))
            await asyncio.sleep(0.05)


@contextmanager
def _prober(front: Process, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "tests.attack.prober", front.address, str(front.pid), _PROBER_ADDRESS]
    with (folder / "prober.log").open("wb") as log:
        prober = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        try:
            yield prober
        finally:
            if prober.poll() is None:
                prober.kill()
            prober.wait()
            for pipe in (prober.stdin, prober.stdout):
                if pipe is not None:
                    pipe.close()


def _latencies(prober: subprocess.Popen[bytes]) -> Latencies:
    output, _ = prober.communicate(b"\n", timeout=30)
    return Latencies(**json.loads(output))
