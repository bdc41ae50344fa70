"""Measurements: CPU time by process, percentiles, and facts about the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

import psutil

_PACKAGES = ("grpcio", "protobuf", "uvicorn", "uvloop", "httptools", "fastapi", "orjson")


@dataclass(frozen=True, slots=True)
class CpuReading:
    """CPU seconds of each process so far, and idle seconds of all cores together."""

    at: float
    by_name: Mapping[str, float]
    idle: float


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Average cores in use; 1.0 is one core all the time. `machine` includes the load of other programs."""

    by_name: Mapping[str, float]
    machine: float


class CpuMeter:
    """Reads user and system time of named processes: all threads and, if requested, running children."""

    def __init__(self, pids: Mapping[str, int], with_children: bool = True) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._with_children = with_children

    def read(self) -> CpuReading:
        times = psutil.cpu_times()
        return CpuReading(
            at=time.monotonic(),
            by_name={name: self._used(process) for name, process in self._processes.items()},
            idle=times.idle + times.iowait,
        )

    def _used(self, process: psutil.Process) -> float:
        family = [process, *(process.children(recursive=True) if self._with_children else ())]
        return sum((times.user + times.system for times in (one.cpu_times() for one in family)), start=0.0)


def cpu_use(before: CpuReading, after: CpuReading) -> CpuUse:
    """Idle time is exact, but busy time is sampled by the kernel, which engine steps of 20 ms would bias."""
    seconds = after.at - before.at
    return CpuUse(
        {name: (after.by_name[name] - used) / seconds for name, used in before.by_name.items()},
        max(0.0, (psutil.cpu_count() or 1) - (after.idle - before.idle) / seconds),
    )


def resident_mb(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


def percentile(values: Sequence[float], percent: int) -> float:
    """The percentile, interpolated between two values. `percent`: 1 to 99."""
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def machine_facts() -> dict[str, object]:
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "commit": _commit(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
    }


def facts_line(facts: Mapping[str, object]) -> str:
    names = ("cores", "cpu", "load_average", "python", "grpcio", "uvicorn")
    return "machine: " + ", ".join(f"{name.replace('_', ' ')} {facts[name]}" for name in names)


def _commit() -> str:
    """The commit of this tree, with a "+" if it has uncommitted changes."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123 - a stream of the kernel's
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
