"""Runs cases in a child process with bounded memory, and kills it if one hangs."""

from __future__ import annotations

import multiprocessing
import queue
import resource
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext

from tests.fuzz.case import Cases, Outcome, outcome_of

# CPU time, so that a busy machine does not count. A body of 100 KB and some takes 20 ms.
SLOW_SECONDS = 2.0
_HANGS_SECONDS = 60.0
_LOOK_SECONDS = 1.0
# What a process has with everything imported is some 150 MB.
_MEMORY_BYTES = 3 * 1024**3
_BATCH = 1_000


@dataclass
class Batch:
    first: int
    outcomes: list[tuple[str, Outcome]]
    lengths: list[int]
    peak_bytes: int


@dataclass
class Report:
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, -1)
    bytes: int = 0
    peak_bytes: int = 0
    done: int = 0

    def add(self, batch: Batch) -> None:
        for number, (target, outcome) in enumerate(batch.outcomes, batch.first):
            self.counts[target, outcome.name] += 1
            self.slowest = max(self.slowest, (outcome.cpu_seconds, number))
            if outcome.crash:
                self.failures.append((number, outcome.crash))
            elif outcome.cpu_seconds > SLOW_SECONDS:
                self.failures.append((number, f"took {outcome.cpu_seconds:.1f} s of CPU time"))
        self.done += len(batch.outcomes)
        self.bytes += sum(batch.lengths)
        self.peak_bytes = max(self.peak_bytes, batch.peak_bytes)


def run(seed: int, count: int, tell: Callable[[Report], None]) -> Report:
    """`tell` hears of progress. A case that hangs is the last one."""
    context: SpawnContext = multiprocessing.get_context("spawn")
    batches: multiprocessing.Queue[Batch] = context.Queue()
    current = context.Value("q", -1)
    worker = context.Process(target=_work, args=(seed, count, batches, current), daemon=True)
    worker.start()
    report = Report()
    last, since = -1, time.monotonic()
    while report.done < count:
        with suppress(queue.Empty):
            report.add(batches.get(timeout=_LOOK_SECONDS))
            tell(report)
            continue
        number, now = current.value, time.monotonic()
        if not worker.is_alive():
            report.failures.append((number, f"ended the process with {worker.exitcode}"))
            break
        if number != last:
            last, since = number, now
        elif now - since > _HANGS_SECONDS:
            report.failures.append((number, f"hangs for {_HANGS_SECONDS:g} s"))
            worker.kill()
            break
    worker.join()
    return report


def _work(seed: int, count: int, batches: multiprocessing.Queue[Batch], current: object) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    cases = Cases(seed)
    for first in range(0, count, _BATCH):
        outcomes, lengths = [], []
        for number in range(first, min(first + _BATCH, count)):
            current.value = number  # type: ignore[attr-defined]  # a multiprocessing.Value
            case = cases[number]
            outcomes.append((case.target, outcome_of(case)))
            lengths.append(len(case.body))
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        batches.put(Batch(first, outcomes, lengths, peak_bytes))
