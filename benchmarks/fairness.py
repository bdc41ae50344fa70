"""`make bench-fairness`: a client with prompts of 30,000 tokens at full load, and twenty with short chats.

Four simulated workers, which compute prompts one after the other as engines with chunked prefill do. In one
run: the heavy client alone, which shows what the fleet can do; the short ones alone; all together; the short
ones alone again. Ratios count, not clocks.

The heavy client's fair share is what the fleet can do less what the short chats take, since each of them asks
for less than an equal share (max-min fairness with equal weights); it is never less than one of 21 parts.
Work is prompt tokens computed and twice the tokens generated, per second.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks.fairness_clients import Answers, Habit, running_clients
from benchmarks.goals import Goal
from benchmarks.measure import facts_line, machine_facts, percentile
from benchmarks.parts.base import Part
from benchmarks.result_files import RESULTS, write
from benchmarks.table import progress, table
from tests.chaos.fleet import MODEL, load_of
from tests.support.processes import ROOT, frontend, worker

_PLACES = 24
_WORKER_FLAGS = (
    *("--engine", "simulator", "--model", MODEL, "--sim-running-limit", str(_PLACES)),
    *("--context-length", "32768", "--sim-kv-tokens", "600000"),
    # Slow, so that what else this machine does is small compared with it.
    *("--sim-decode-step-base-ms", "50"),
    *("--sim-answer-tokens-min", "64", "--sim-answer-tokens-max", "64"),
)
_SHORT_CLIENTS = 20
_SHORT = [Habit(f"short-{number}", 1, 60, 16, 1.0) for number in range(_SHORT_CLIENTS)]
_HEAVY_TOKENS = 30_000
_COST_OF_GENERATED = 2
# Heavy requests of the phase before have gone, and those of this one fill all places.
_SETTLE_SECONDS = 15.0
_SETTLE_SHORT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Phase:
    """`work`: per second. Of the heavy client: all that the fleet did less that of the short ones."""

    name: str
    seconds: float
    short_answers: int
    short_ttft_p50_ms: float
    short_ttft_p99_ms: float
    short_work: float
    heavy_work: float
    refused: int

    def cells(self) -> Sequence[str]:
        has_short = self.short_ttft_p50_ms > 0
        return (
            self.name,
            str(self.short_answers),
            f"{self.short_ttft_p50_ms:.0f}" if has_short else "",
            f"{self.short_ttft_p99_ms:.0f}" if has_short else "",
            f"{self.short_work:.0f}",
            f"{self.heavy_work:.0f}",
            str(self.refused),
        )


class Bench:
    """`workers`: their addresses; `ttft_seconds`: of the short chats, by phase."""

    def __init__(self, address: str, workers: Sequence[str], seconds: float) -> None:
        self._address = address
        self._workers = workers
        self._seconds = seconds
        # More than all workers' places and what a frontend queues there.
        self._heavy = Habit("heavy", 2 * _PLACES * len(workers), _HEAVY_TOKENS, 32)
        self.ttft_seconds: dict[str, list[float]] = {}

    async def run(self) -> list[Phase]:
        phases = []
        for name, has_short, has_heavy, settle in (
            ("heavy alone", False, True, _SETTLE_SECONDS),
            ("short alone", True, False, _SETTLE_SHORT_SECONDS),
            ("together", True, True, _SETTLE_SECONDS),
            ("short alone again", True, False, _SETTLE_SHORT_SECONDS),
        ):
            progress(name)
            phases.append(await self._phase(name, has_short, has_heavy, settle))
        return phases

    async def _phase(self, name: str, has_short: bool, has_heavy: bool, settle: float) -> Phase:
        async with AsyncExitStack() as owned:
            short, heavy = Answers(), Answers()
            if has_short:
                short = await owned.enter_async_context(running_clients(self._address, MODEL, name, *_SHORT))
            if has_short and has_heavy:
                await asyncio.sleep(_SETTLE_SHORT_SECONDS)
            if has_heavy:
                heavy = await owned.enter_async_context(
                    running_clients(self._address, MODEL, name, self._heavy)
                )
            await asyncio.sleep(settle)
            short.clear()
            heavy.clear()
            before, began = await self._work_done(), time.perf_counter()
            await asyncio.sleep(self._seconds)
            now, after = time.perf_counter(), await self._work_done()
            seconds = now - began
            # What has waited all the time counts too: it has its first token later than that.
            waiting = [now - asked for asked in short.asked if asked < began]
            times = self.ttft_seconds[name] = sorted(short.ttft_seconds + waiting)
            short_work = short.prefill_tokens + _COST_OF_GENERATED * short.generated_tokens
            return Phase(
                name,
                seconds,
                short.ended,
                1000 * percentile(times, 50) if times else 0.0,
                1000 * percentile(times, 99) if times else 0.0,
                short_work / seconds,
                (after - before - short_work) / seconds if has_heavy else 0.0,
                short.refused + heavy.refused,
            )

    async def _work_done(self) -> int:
        reports = [await asyncio.to_thread(load_of, address) for address in self._workers]
        return sum(
            report.prefill_tokens_done + _COST_OF_GENERATED * report.decode_tokens_done for report in reports
        )


def part_of(phases: Sequence[Phase], alone: Sequence[float]) -> Part:
    """`alone`: times to first token of the short chats without the heavy client, sorted."""
    heavy, _, together, _ = phases
    alone_p99 = 1000 * percentile(alone, 99)
    capacity = heavy.heavy_work
    share = max(capacity - together.short_work, capacity / (_SHORT_CLIENTS + 1))
    goals = (
        Goal(
            "short chats' TTFT p99, with the heavy client / without",
            together.short_ttft_p99_ms / alone_p99,
            "at most",
            1.5,
        ),
        Goal("heavy client's work / its fair share", together.heavy_work / share, "at least", 0.6),
    )
    heads = (
        "phase",
        "short\nanswers",
        "TTFT p50\nms",
        "TTFT p99\nms",
        "short\nwork/s",
        "heavy\nwork/s",
        "503",
    )
    rows = [phase.cells() for phase in phases]
    title = f"1 client with {_HEAVY_TOKENS} tokens, {_SHORT_CLIENTS} with short chats"
    raw = {"phases": [asdict(phase) for phase in phases], "fair_share": share, "alone_ttft_p99_ms": alone_p99}
    return Part("fairness", table(title, heads, rows), goals, raw)


def main() -> int:
    asked = _options()
    facts = machine_facts()
    print(facts_line(facts), flush=True)
    with ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="drover-fairness-")))
        workers = [
            owned.enter_context(worker(folder / f"worker{number}.log", *_WORKER_FLAGS, root=asked.root))
            for number in range(asked.workers)
        ]
        addresses = [each.address for each in workers]
        front = owned.enter_context(frontend(folder / "frontend.log", addresses, root=asked.root))
        bench = Bench(front.address, addresses, asked.seconds)
        phases = uvloop.run(bench.run())
    alone = sorted(bench.ttft_seconds["short alone"] + bench.ttft_seconds["short alone again"])
    part = part_of(phases, alone)
    print(part.report())
    if asked.results:
        write(part, facts, asked.results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fairness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=25, help="of each phase (default 25)")
    parser.add_argument("--workers", type=int, default=4, help="(default 4)")
    parser.add_argument("--root", type=Path, default=ROOT, help="another tree whose code runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
