"""`make bench-pool`: models on demand over two hosts that have memory for two models each.

Forty clients ask for six models, the popular ones more often (Zipf), and ask again when they have the answer:
with the host's own plan, by order of arrival (arrival_order.py), and with the plan but no minimum residency.
Simulated models, or small real ones on llama.cpp. Writes benchmarks/results/pool.json or pool_llamacpp.json.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import uvloop

from benchmarks.measure import facts_line, machine_facts
from benchmarks.pool import cost
from benchmarks.pool.arrival_order import LEAST_RECENTLY_USED, LIKE_OLLAMA, ArrivalOrder, Policy
from benchmarks.pool.clients import Asked, Sender, ask_until
from benchmarks.pool.fleet import Residency, Server, fleet
from benchmarks.pool.host_states import HostRecord
from benchmarks.pool.report import Run, part_of
from benchmarks.pool.workload import Workload, llamacpp, simulated
from benchmarks.result_files import RESULTS, write
from benchmarks.table import progress

PACKAGES = "DROVER_POOL_MODELS"
"""The environment variable with the folder that `scripts/setup.sh pool-models` prints."""
_WARM_UP_SECONDS = 30.0


def main() -> int:
    asked = _options()
    facts = machine_facts()
    print(facts_line(facts), flush=True)
    workload = simulated() if asked.engine == "simulator" else llamacpp(Path(os.environ[PACKAGES]))
    others = asked.baseline_seconds or asked.seconds / 6
    runs = [
        _run(
            workload, "plan", Residency(asked.residency, asked.residency_loads), asked.seconds, asked.clients
        ),
        *(_in_order(workload, each, others, asked.clients) for each in (LEAST_RECENTLY_USED, LIKE_OLLAMA)),
        _run(workload, "plan, residency 0", Residency(0.0, 0.0), others, asked.clients),
    ]
    costs = cost.measure() if asked.engine == "simulator" else None
    part = part_of(workload, runs, costs)
    print(part.report())
    write(part, {**facts, "load_average_after": [round(load, 2) for load in os.getloadavg()]}, asked.results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pool", description=__doc__)
    parser.add_argument("--engine", choices=("simulator", "llamacpp"), default="simulator")
    parser.add_argument("--seconds", type=float, default=600, help="of the plan's run (default 600)")
    parser.add_argument("--baseline-seconds", type=float, help="of each other run (default: a sixth)")
    parser.add_argument("--clients", type=int, default=40, help="(default 40)")
    parser.add_argument(
        "--residency", type=float, default=5.0, help="--min-residency-seconds of the hosts (default 5)"
    )
    parser.add_argument(
        "--residency-loads",
        type=float,
        default=8.0,
        help="--min-residency-loads of the hosts (default 8)",
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' file")
    return parser.parse_args()


def _run(workload: Workload, name: str, residency: Residency, seconds: float, clients: int) -> Run:
    progress(f"{name}: {seconds:.0f} s")
    with (
        tempfile.TemporaryDirectory(prefix="drover-pool-") as folder,
        fleet(Path(folder), workload, residency, is_shared=True) as servers,
    ):
        return uvloop.run(_measure(workload, name, residency, seconds, clients, servers, None))


def _in_order(workload: Workload, policy: Policy, seconds: float, clients: int) -> Run:
    progress(f"{policy.name}: {seconds:.0f} s")
    none = Residency(0.0, 0.0)
    with (
        tempfile.TemporaryDirectory(prefix="drover-pool-") as folder,
        fleet(Path(folder), workload, none, is_shared=False) as servers,
    ):
        return uvloop.run(_measure(workload, policy.name, none, seconds, clients, servers, policy))


async def _measure(
    workload: Workload,
    name: str,
    residency: Residency,
    seconds: float,
    clients: int,
    servers: Sequence[Server],
    policy: Policy | None,
) -> Run:
    asked = Asked(workload)
    records = [HostRecord(server.host, server.store, workload.is_measured) for server in servers]
    senders = [Sender(server.frontend, workload) for server in servers]
    in_order = None if policy is None else ArrivalOrder(policy, list(zip(records, senders, strict=True)))
    async with AsyncExitStack() as owned:
        for sender in senders:
            owned.push_async_callback(sender.close)
        works = [work for each in records for work in (each.follow(), each.measure_memory())]
        if in_order is not None:
            works.append(in_order.run())
        tasks = [asyncio.create_task(work, name="watch hosts") for work in works]
        owned.push_async_callback(_end, tasks)
        for each in records:
            await each.is_known.wait()
        began, warm_up = time.monotonic(), min(_WARM_UP_SECONDS, seconds / 3)
        await ask_until(asked, in_order or senders[0], clients, seconds)
        for task in tasks:
            if task.done():
                task.result()
    return Run(
        name,
        began,
        warm_up,
        seconds,
        residency,
        asked.answers,
        asked.unanswered,
        asked.failed,
        records,
    )


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
