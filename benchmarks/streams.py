"""`make bench-streams`: 1,000 streams at the same time, for minutes, on one frontend and two workers.

Each stream asks for one answer of numbered tokens after the other: each must come whole and in order. Writes
benchmarks/results/streams.json and draws the frontend's memory over time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvloop

from benchmarks.answers import MODEL
from benchmarks.client.dialects import DIALECTS
from benchmarks.client.load import Load, Totals
from benchmarks.goals import Goal
from benchmarks.measure import CpuMeter, cpu_use, facts_line, machine_facts, resident_mb
from benchmarks.parts.base import Part
from benchmarks.plots import PLOTS, draw
from benchmarks.result_files import RESULTS, write
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer
from benchmarks.targets.drover import simulator_flags
from tests.support.processes import frontend, worker

_STEP_MS = 50
_TOKENS = 600
"""Tokens of a response: half a minute."""
_PROMPT_SECONDS = 5.0
_SAMPLES = 120

Memory = list[tuple[float, float]]
"""Seconds since the start, and the frontend's resident megabytes."""


def main() -> int:
    asked = _options()
    print(facts_line(machine_facts()), flush=True)
    with tempfile.TemporaryDirectory(prefix="drover-streams-") as folder, _fleet(Path(folder), asked) as pids:
        part = uvloop.run(_measure(asked, *pids))
    print(part.report())
    write(part, machine_facts(), asked.results)
    draw(asked.results, asked.plots)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="(default 600)")
    parser.add_argument("--streams", type=int, default=1000, help="(default 1000)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' file")
    parser.add_argument("--plots", type=Path, default=PLOTS, help="folder of the plots")
    return parser.parse_args()


@contextmanager
def _fleet(folder: Path, asked: argparse.Namespace) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield the frontend's address and all processes by name."""
    flags = simulator_flags(folder, Offer(asked.streams, _TOKENS, _STEP_MS))
    with ExitStack() as owned:
        workers = [owned.enter_context(worker(folder / f"worker-{number}.log", *flags)) for number in (1, 2)]
        front = owned.enter_context(frontend(folder / "frontend.log", [each.address for each in workers]))
        pids = {"frontend": front.pid} | {
            f"worker {number}": each.pid for number, each in enumerate(workers, 1)
        }
        yield front.address, pids


async def _measure(asked: argparse.Namespace, address: str, pids: dict[str, int]) -> Part:
    # The first requests are spread over some seconds, so that responses do not end together.
    rate = asked.streams / _PROMPT_SECONDS
    load = Load(
        address, False, DIALECTS["chat"], MODEL, "Count.", _TOKENS, asked.seconds, asked.streams, rate, True
    )
    totals, memory, meter = Totals(), Memory(), CpuMeter(pids)
    before = meter.read()
    sampling = asyncio.create_task(_sample(pids["frontend"], memory, asked.seconds))
    await load.run(totals)
    use = cpu_use(before, meter.read())
    sampling.cancel()
    us = {name: 1e6 * cores * totals.seconds / totals.tokens for name, cores in use.by_name.items()}
    raw = {**totals.raw(), "streams": asked.streams, "us_per_token": us, "frontend_memory_mb": memory}
    return Part("streams", _table(asked.streams, totals, us, memory), _goals(totals, memory), raw)


async def _sample(pid: int, memory: Memory, seconds: float) -> None:
    began = time.monotonic()
    while True:
        memory.append((time.monotonic() - began, resident_mb(pid)))
        if len(memory) % 12 == 0:
            progress(f"{memory[-1][0]:.0f} of {seconds:g} s, frontend {memory[-1][1]:.0f} MB")
        await asyncio.sleep(seconds / _SAMPLES)


def growth(memory: Sequence[tuple[float, float]]) -> float:
    """Mean of the last quarter over that of the second: by then every stream has had a response."""
    values = [megabytes for _, megabytes in memory]
    quarter = max(1, len(values) // 4)
    middle, end = values[quarter : 2 * quarter] or values, values[-quarter:]
    return (sum(end) / len(end)) / (sum(middle) / len(middle))


def _goals(totals: Totals, memory: Memory) -> list[Goal]:
    return [
        Goal("answers that broke", totals.problems.total(), "at most", 0, note=f"of {totals.answers}"),
        Goal("gap between lines, p99", 1000 * totals.gaps.percentile(99), "below", 200, " ms"),
        Goal("frontend's memory, most", max(megabytes for _, megabytes in memory), "below", 300, " MB"),
        Goal("frontend's memory, last quarter / second quarter", growth(memory), "at most", 1.05),
    ]


def _table(streams: int, totals: Totals, us: dict[str, float], memory: Memory) -> str:
    costs = [[name, f"{cost:.1f}"] for name, cost in us.items()]
    shown = table(f"{streams} streams at {1000 / _STEP_MS:g} tokens/s", ["", "CPU µs/token"], costs)
    ends = f"frontend's memory: {memory[0][1]:.0f} MB at the start, {memory[-1][1]:.0f} MB at the end"
    return f"{shown}\n{totals.report()}\n  {ends}"


if __name__ == "__main__":
    sys.exit(main())
