"""What models on demand cost where nothing is loaded: a request for a loaded model, and an idle host."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.goals import Goal
from benchmarks.measure import CpuMeter, cpu_use, percentile
from benchmarks.table import progress
from tests.support.hosts import host, put_simulated
from tests.support.processes import frontend, worker

_REQUESTS = 300
_IDLE_SECONDS = 30.0
_NAMES = ("model-0", "model-1")


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of requests with one token each, in turn; `idle_cores`: of a host with two models in memory."""

    host_ms: float
    worker_ms: float
    idle_cores: float

    def goals(self) -> Sequence[Goal]:
        return (
            Goal(
                "a request for a loaded model, p50, beyond --workers",
                self.host_ms - self.worker_ms,
                "below",
                2,
                " ms",
            ),
            Goal("an idle host", 100 * self.idle_cores, "below", 1, " % of a core"),
        )


def measure() -> Cost:
    progress(f"cost: {_REQUESTS} requests each way, then {_IDLE_SECONDS:.0f} s without any")
    with ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="drover-pool-")))
        put_simulated(folder / "store", _NAMES)
        hosting = owned.enter_context(host(folder / "host.log", folder / "store"))
        plain = owned.enter_context(
            worker(folder / "worker.log", *("--engine", "simulator", "--model", _NAMES[0]))
        )
        by_host = owned.enter_context(frontend(folder / "one.log", [], "--hosts", hosting.address))
        by_worker = owned.enter_context(frontend(folder / "two.log", [plain.address]))
        with httpx.Client(timeout=60) as client:
            for name in _NAMES:
                _ask(client, by_host.address, name)
            _ask(client, by_worker.address, _NAMES[0])
            times: dict[str, list[float]] = {by_host.address: [], by_worker.address: []}
            for _ in range(_REQUESTS):
                for address, seconds in times.items():
                    began = time.perf_counter()
                    _ask(client, address, _NAMES[0])
                    seconds.append(time.perf_counter() - began)
        meter = CpuMeter({"host": hosting.pid}, with_children=False)
        before = meter.read()
        time.sleep(_IDLE_SECONDS)
        idle = cpu_use(before, meter.read()).by_name["host"]
    medians = {address: 1000 * percentile(seconds, 50) for address, seconds in times.items()}
    return Cost(medians[by_host.address], medians[by_worker.address], idle)


def _ask(client: httpx.Client, address: str, model: str) -> None:
    body = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
    client.post(f"http://{address}/api/generate", json=body).raise_for_status()
