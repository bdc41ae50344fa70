"""`make bench`: what the relay costs on this machine, in under 12 minutes.

Prints a table for each part with what was to be reached, writes benchmarks/results/PART.json and draws the
plots of README and docs/scale.md from them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.measure import facts_line, machine_facts
from benchmarks.parts import growth, idle, relay, saturated, start, unary
from benchmarks.parts.base import Effort, Part
from benchmarks.plots import PLOTS, draw
from benchmarks.result_files import RESULTS, write

_PARTS: Mapping[str, Callable[[Effort], Part]] = {
    "relay": relay.measure,
    "saturated": saturated.measure,
    "idle": idle.measure,
    "unary": unary.measure,
    "growth": growth.measure,
    "start": start.measure,
}


def main() -> int:
    asked = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = machine_facts()
    print(facts_line(facts), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="drover-bench-") as folder:
            effort = Effort(asked.seconds, asked.rounds, Path(folder))
            for name in asked.only or _PARTS:
                part = _PARTS[name](effort)
                print(part.report(), flush=True)
                write(part, machine_facts(), asked.results)
                draw(asked.results, asked.plots)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="length of a window (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each kind (default 3)")
    parser.add_argument("--only", nargs="+", choices=tuple(_PARTS), help="these parts (default: all)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' files")
    parser.add_argument("--plots", type=Path, default=PLOTS, help="folder of the plots")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
