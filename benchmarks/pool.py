"""`make bench-pool`: models on demand over two hosts that have memory for two models each.

Forty clients ask for six simulated models, the popular ones more often (Zipf). Runs in turn with the host's
plan, and with eviction by least recent use for each single request. Writes benchmarks/results/pool.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, quantiles

import grpc
import httpx
import uvloop

from benchmarks.goals import Goal
from benchmarks.measure import facts_line, machine_facts
from benchmarks.parts.base import Part
from benchmarks.result_files import RESULTS, write
from benchmarks.table import progress, table
from drover.v1 import host_pb2, host_pb2_grpc
from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.processes import frontend

MODELS = tuple(f"model-{number}" for number in range(6))
_WEIGHTS = [1 / (rank + 1) for rank in range(len(MODELS))]
_MODEL_MIB, _HOST_MIB = 1000, 2100
_LOAD_MS = 1000
_TOKENS = 64
_MIB = 1 << 20
_NS = 1e9
_LRU_SECONDS = "0"
"""Of --min-residency-seconds: each request may evict at once."""


@dataclass
class Run:
    """Of one policy. `waits`: seconds that each request waited for a load; `used_mib`: the most of a host."""

    policy: str
    seconds: float
    done: int = 0
    failed: int = 0
    waits: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    used_mib: float = 0.0

    @property
    def per_second(self) -> float:
        return self.done / self.seconds


def main() -> int:
    asked = _options()
    print(facts_line(machine_facts()), flush=True)
    runs = [
        _run("plan", asked.residency, asked.seconds, asked.clients),
        _run("least recently used", _LRU_SECONDS, asked.seconds / 3, asked.clients),
    ]
    part = _part(runs, float(asked.residency))
    print(part.report())
    write(part, machine_facts(), asked.results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="of the plan's run (default 600)")
    parser.add_argument("--clients", type=int, default=40, help="(default 40)")
    parser.add_argument("--residency", default="5", help="--min-residency-seconds of the hosts (default 5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' file")
    return parser.parse_args()


def _run(policy: str, residency: str, seconds: float, clients: int) -> Run:
    progress(f"{policy}: {seconds:.0f} s")
    with (
        tempfile.TemporaryDirectory(prefix="drover-pool-") as folder,
        _fleet(Path(folder), residency) as fleet,
    ):
        return uvloop.run(_measure(Run(policy, seconds), clients, *fleet))


@contextmanager
def _fleet(folder: Path, residency: str) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the addresses of the frontend and of the hosts."""
    flags = ("--memory-mib", str(_HOST_MIB), "--min-residency-seconds", residency)
    with ExitStack() as owned:
        hosts = []
        for number in (1, 2):
            store = folder / f"store-{number}"
            put_simulated(store, MODELS, _MODEL_MIB, "--sim-load-ms", str(_LOAD_MS))
            hosts.append(owned.enter_context(host(folder / f"host-{number}.log", store, *flags)))
        addresses = [each.address for each in hosts]
        front = owned.enter_context(frontend(folder / "frontend.log", [], "--hosts", ",".join(addresses)))
        yield front.address, addresses
        stores = [folder / f"store-{number}" for number in (1, 2)]
    # Hosts leave their workers running.
    for pid in (pid for store in stores for pid in worker_pids(store)):
        os.kill(pid, signal.SIGKILL)


async def _measure(run: Run, clients: int, address: str, hosts: Sequence[str]) -> Run:
    until = time.monotonic() + run.seconds
    watching = [asyncio.create_task(_watch(run, each), name=f"watch {each}") for each in hosts]
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=600, limits=limits) as client:
        await asyncio.gather(*(_client(run, client, number, until) for number in range(clients)))
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    return run


async def _client(run: Run, client: httpx.AsyncClient, number: int, until: float) -> None:
    seeded = random.Random(number)
    while time.monotonic() < until:
        body = {
            "model": seeded.choices(MODELS, _WEIGHTS)[0],
            "prompt": f"Question {seeded.random()}",
            "stream": False,
            "options": {"num_predict": _TOKENS},
        }
        answer = await client.post("/api/generate", json=body)
        if answer.status_code != 200:
            progress(f"failed: {answer.status_code} {answer.text[:200]}")
            run.failed += 1
            continue
        run.done += 1
        run.waits.append(answer.json()["load_duration"] / _NS)


async def _watch(run: Run, address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = host_pb2_grpc.HostStub(channel)
        async for state in stub.Watch(host_pb2.WatchHostRequest()):
            run.used_mib = max(run.used_mib, state.used_bytes / _MIB)
            run.loads += [each.load_ns / _NS for each in state.stored.models if each.load_ns]


def _part(runs: Sequence[Run], residency: float) -> Part:
    plan, lru = runs
    load = mean(plan.loads)
    # Five models may have their turns first, on two hosts: what its queue explains.
    turns = len(MODELS) / 2 * (residency + load)
    goals = [
        Goal("failed requests", plan.failed, "at most", 0),
        Goal("most memory of a host", plan.used_mib, "at most", _HOST_MIB, " MiB"),
        Goal("longest wait beyond its queue", max(0.0, max(plan.waits) - turns), "at most", 3 * load, " s"),
        Goal("throughput to least recently used", plan.per_second / lru.per_second, "at least", 2),
    ]
    rows = [_row(run) for run in runs]
    heads = ("policy", "requests/s", "failed", "wait p50 s", "wait p99 s", "longest s", "load s", "most MiB")
    raw = {"runs": [_raw(run) for run in runs]}
    return Part("pool", table("Models on demand", heads, rows), goals, raw)


def _row(run: Run) -> list[str]:
    cuts = quantiles(run.waits, n=100)
    numbers = (run.per_second, run.failed, cuts[49], cuts[98], max(run.waits), mean(run.loads), run.used_mib)
    return [run.policy, *(f"{number:.2f}" for number in numbers)]


def _raw(run: Run) -> dict[str, object]:
    cuts = quantiles(run.waits, n=100)
    return {
        "policy": run.policy,
        "seconds": run.seconds,
        "requests": run.done,
        "failed": run.failed,
        "wait_seconds": {"p50": cuts[49], "p99": cuts[98], "longest": max(run.waits)},
        "mean_load_seconds": mean(run.loads),
        "most_memory_mib": run.used_mib,
    }


if __name__ == "__main__":
    sys.exit(main())
