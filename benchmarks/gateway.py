"""`make bench-smg`: both tiers and the gateway smg, in turn, under the same load of OpenAI chats.

What they do is not the same. Over HTTP, smg passes an OpenAI server's bytes on; the server behind it has an
API layer of its own, which is a stub here and nearly free. Over gRPC it takes token ids from an engine, makes
text of them and speaks the API itself, as our two tiers do together; the engine's service is a stub. Our
frontend speaks three APIs and keeps each answer so that it can go on elsewhere; our worker's cost holds the
simulator's.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.goals import Goal
from benchmarks.measure import facts_line, machine_facts
from benchmarks.parts.base import Part
from benchmarks.parts.relay import THIS, offer, ratio
from benchmarks.result_files import RESULTS, write
from benchmarks.table import progress, table
from benchmarks.targets.drover import drover
from benchmarks.targets.smg import FOLDER, OVER_GRPC, OVER_HTTP, smg
from benchmarks.window import Window, measure_window


def main() -> int:
    asked = _options()
    if not os.environ.get(FOLDER):
        print(f"{FOLDER} must name the folder of the command smg (make bench-smg does)", file=sys.stderr)
        return 2
    print(facts_line(machine_facts()), flush=True)
    with tempfile.TemporaryDirectory(prefix="drover-smg-") as folder:
        part = _measure(Path(folder), asked.seconds, asked.rounds, asked.streams)
    print(part.report())
    write(part, machine_facts(), asked.results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="length of a window (default 8)")
    parser.add_argument("--rounds", type=int, default=3, help="windows of each kind (default 3)")
    parser.add_argument("--streams", type=int, default=256, help="(default 256)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' file")
    return parser.parse_args()


def _measure(folder: Path, seconds: float, rounds: int, streams: int) -> Part:
    asked = offer(seconds, streams)
    windows: list[Window] = []
    with ExitStack() as owned:
        targets = [
            owned.enter_context(drover(THIS, folder / "this", asked)),
            *owned.enter_context(smg(folder, asked)),
        ]
        for _ in range(rounds):
            for target in targets:
                progress(f"{streams} streams, OpenAI chats, {target.name}: {seconds:g} s")
                windows.append(asyncio.run(measure_window(target, asked, seconds, "openai")))
    by_name = {target.name: [each for each in windows if each.target == target.name] for target in targets}
    ours = by_name[THIS]
    goals = []
    for name in (OVER_HTTP, OVER_GRPC):
        alone = [
            one.us / other.us_per_token["gateway"] for one, other in zip(ours, by_name[name], strict=True)
        ]
        goals += [
            Goal(f"CPU per token, both tiers / the gateway alone, {name}", median(alone), "below", 1.0),
            Goal(f"CPU per token, both tiers / whole path, {name}", ratio(ours, by_name[name]), "below", 1.0),
        ]
    raw = {"windows": [asdict(window) for window in windows]}
    return Part("smg", _table(by_name), goals, raw)


def _table(by_name: dict[str, list[Window]]) -> str:
    heads = ["", "CPU µs/token by process", "whole path\nµs/token", "client\ntok/s", "tokens/\nmessage"]
    heads += ["gap p50\nms", "gap p99\nms", "machine\ncores"]
    rows = [[name, *_cells(windows)] for name, windows in by_name.items()]
    return table("OpenAI chats through both tiers and through smg, medians", heads, rows)


def _cells(windows: Sequence[Window]) -> list[str]:
    tiers = windows[0].us_per_token
    costs = [f"{tier} {median(each.us_per_token[tier] for each in windows):.1f}" for tier in tiers]
    return [
        ", ".join(costs),
        f"{median(each.us for each in windows):.1f}",
        f"{median(each.received for each in windows):.0f}",
        f"{median(each.tokens_per_message for each in windows):.2f}",
        f"{median(each.gap_p50_ms for each in windows):.1f}",
        f"{median(each.gap_p99_ms for each in windows):.1f}",
        f"{median(each.machine_cores for each in windows):.2f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
