"""`make bench-routing`: conversations over eight simulated workers with real prefix caches, policy by policy.

The workers prefill 4,000 tokens a second and remember 48,000 each. Ratios count, not clocks: all processes
share this machine's cores.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.conversations import Crowd, hold, sums
from benchmarks.measure import facts_line, machine_facts, percentile
from benchmarks.table import progress, table
from frontend.routing.policies import PolicyName
from tests.chaos.fleet import MODEL, load_of, running_fleet

_WORKERS = 8
_WORKER_FLAGS = (
    *("--sim-prefill-tokens-per-second", "4000", "--sim-kv-tokens", "48000"),
    *("--sim-answer-tokens-min", "200", "--sim-answer-tokens-max", "200"),
)
_BAR_WIDTH = 30
_SYSTEM_WORDS = 100


@dataclass(frozen=True, slots=True)
class Row:
    policy: str
    hit_rate: float
    ttft_p50: float
    ttft_p99: float
    busiest: float
    failures: int

    def cells(self) -> Sequence[str]:
        return (
            self.policy,
            f"{self.hit_rate:.1%}",
            f"{self.ttft_p50 * 1000:.0f}",
            f"{self.ttft_p99 * 1000:.0f}",
            f"{self.busiest:.2f}",
            str(self.failures),
        )

    def bar(self) -> str:
        return (
            f"  {self.policy:12} {'#' * round(self.hit_rate * _BAR_WIDTH):{_BAR_WIDTH}} {self.hit_rate:.1%}"
        )


def measure(policy: str, crowd: Crowd, seed: int) -> Row:
    with ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="drover-routing-")))
        fleet = owned.enter_context(
            running_fleet(folder, _WORKERS, worker_flags=_WORKER_FLAGS, frontend_flags=("--policy", policy))
        )
        seen = asyncio.run(hold(fleet.url(), MODEL, crowd, seed))
        reports = [load_of(each.address) for each in fleet.workers]
    hit_rate, busiest = sums([(report.cached_tokens_done, report.prefill_tokens_done) for report in reports])
    times = sorted(seen.ttft_seconds)
    return Row(policy, hit_rate, percentile(times, 50), percentile(times, 99), busiest, seen.failures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conversations", type=int, default=96)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    print(facts_line(machine_facts()))
    for system_words in (0, _SYSTEM_WORDS):
        crowd = Crowd(asked.conversations, asked.turns, system_words)
        kind = "one system message for all" if system_words else "nothing in common"
        rows = []
        for policy in get_args(PolicyName):
            progress(f"{policy}, {kind}")
            rows.append(measure(policy, crowd, asked.seed))
        title = f"{asked.conversations} conversations of {asked.turns} turns, {kind}"
        heads = ("policy", "hit rate", "TTFT p50\nms", "TTFT p99\nms", "busiest\n/mean", "failed")
        print(table(title, heads, [row.cells() for row in rows]))
        print("\n".join(row.bar() for row in rows))


if __name__ == "__main__":
    main()
