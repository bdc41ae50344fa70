"""Start-up time of a frontend, and its CPU and memory then."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil

from benchmarks.answers import MODEL
from benchmarks.goals import Goal
from benchmarks.measure import resident_mb
from benchmarks.parts.base import Effort, Part
from benchmarks.table import progress, table
from frontend.health import is_ok
from tests.support.processes import free_port, launched, worker

_STARTS = 5
_READY_SECONDS = 30.0
_POLL_SECONDS = 0.005
_SETTLE_SECONDS = 1.0


def measure(effort: Effort) -> Part:
    progress(f"{_STARTS} starts of a frontend")
    with worker(effort.folder / "worker.log", "--engine", "simulator", "--model", MODEL) as one:
        starts = [_start(effort.folder, one.address) for _ in range(_STARTS)]
    ready, cpu, memory = (median(values) for values in zip(*starts, strict=True))
    rows = [
        [str(number), *(f"{value:.2f}" for value in start[:2]), f"{start[2]:.0f}"]
        for number, start in enumerate(starts, 1)
    ]
    heads = ["start", "ready\ns", "CPU\ns", "memory\nMB"]
    goals = [
        Goal("a frontend is ready", ready, "below", 0.6, " s"),
        Goal("its memory after the start", memory, "below", 70, " MB"),
    ]
    raw = {"starts": [{"ready_s": one, "cpu_s": two, "memory_mb": three} for one, two, three in starts]}
    return Part("start", table(f"Start of a frontend, CPU {cpu:.2f} s", heads, rows), goals, raw)


def _start(folder: Path, worker_address: str) -> tuple[float, float, float]:
    """Seconds until it is ready, CPU seconds, and megabytes a moment later."""
    address = f"127.0.0.1:{free_port()}"
    command = ["-m", "frontend", "--listen", address, "--workers", worker_address]
    command += ["--database-url", f"sqlite:///{folder / 'start.sqlite3'}"]
    with ExitStack() as owned:
        began = time.monotonic()
        process = owned.enter_context(launched(command, address, folder / "start.log"))
        while not is_ok(f"http://{address}/readyz"):
            if process.popen.poll() is not None or time.monotonic() - began > _READY_SECONDS:
                raise RuntimeError(f"the frontend is not ready:\n{process.log_text()}")
            time.sleep(_POLL_SECONDS)
        ready = time.monotonic() - began
        times = psutil.Process(process.pid).cpu_times()
        time.sleep(_SETTLE_SECONDS)
        return ready, times.user + times.system, resident_mb(process.pid)
