"""`make fuzz`: mutated request bodies through all code that reads them.

    python -m tests.fuzz [--count N] [--seed N]     all cases from 0; ends with status 1 if any fails
    python -m tests.fuzz --seed N --only NUMBER     one case again, with its traceback

Only the errors of drover.errors may come out, soon, and with little memory.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import Counter

from tests.fuzz.case import ACCEPTED, Case, Cases, outcome_of
from tests.fuzz.run import Report, run
from tests.fuzz.shrink import smallest
from tests.fuzz.targets import TARGETS

_COUNT = 100_000
_SEED = 1
_SHOWN_FAILURES = 20
_SHOWN_BYTES = 2_000
_REPORT_EVERY_SECONDS = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--count", type=int, default=_COUNT)
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--only", type=int)
    arguments = parser.parse_args()
    if arguments.only is not None:
        return _again(Cases(arguments.seed)[arguments.only])
    began = time.monotonic()
    report = run(arguments.seed, arguments.count, _Progress(arguments.count))
    _tell(report, arguments.seed, time.monotonic() - began)
    if report.failures:
        _tell_failures(report, arguments.seed)
    return 1 if report.failures or report.done < arguments.count else 0


class _Progress:
    def __init__(self, count: int) -> None:
        self._count = count
        self._reported = time.monotonic()

    def __call__(self, report: Report) -> None:
        if time.monotonic() - self._reported > _REPORT_EVERY_SECONDS:
            self._reported = time.monotonic()
            print(f"{report.done:>8} of {self._count}, {len(report.failures)} failed", flush=True)


def _again(case: Case) -> int:
    print(f"{case.target}, {len(case.body)} bytes: {case.body[:_SHOWN_BYTES]!r}")
    TARGETS[case.target](case.body)
    print(ACCEPTED)
    return 0


def _tell(report: Report, seed: int, seconds: float) -> None:
    totals: Counter[str] = Counter()
    for (target, name), count in sorted(report.counts.items()):
        totals[name] += count
        print(f"{target:<18} {name:<18} {count:>8}")
    print(f"\n{report.done} bodies, {report.bytes / 1e6:.0f} MB, in {seconds:.0f} s; seed {seed}")
    print(", ".join(f"{name} {count}" for name, count in totals.most_common()))
    slowest, number = report.slowest
    print(f"slowest: {slowest * 1000:.0f} ms of CPU time (--only {number})")
    print(f"memory: {report.peak_bytes / 1e6:.0f} MB at most")
    print(f"Python {platform.python_version()} on {platform.machine()}; {len(report.failures)} failed")


def _tell_failures(report: Report, seed: int) -> None:
    """The smallest one of each kind, made smaller."""
    cases = Cases(seed)
    by_kind: dict[str, list[int]] = {}
    for number, what in report.failures:
        by_kind.setdefault(what, []).append(number)
    for what, numbers in list(by_kind.items())[:_SHOWN_FAILURES]:
        number = min(numbers, key=lambda each: len(cases[each].body))
        target = cases[number].target
        body = _shrunk(cases[number], what)
        print(f"\n{target}: {what} ({len(numbers)} times; --seed {seed} --only {number})")
        print(repr(body[:_SHOWN_BYTES]))


def _shrunk(case: Case, what: str) -> bytes:
    """What hangs or ends the process is shown as it is."""
    if " at " not in what:
        return case.body
    return smallest(case.body, lambda body: outcome_of(Case(case.target, body)).crash == what)


if __name__ == "__main__":
    sys.exit(main())
