"""What the relay costs on this machine: `python -m benchmarks.relay`, or `make bench`.

The simulator is the worker's engine. Two measurements in one run: CPU per relayed token of each tier under
many streams, through both tiers and on the worker directly; and the time to first token that the tiers add.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from benchmarks.answers import MODEL, write_script
from benchmarks.measure import facts_line, machine_facts
from benchmarks.table import progress, table
from benchmarks.ttft import Ttft, measure_ttft
from benchmarks.window import Plan, Way, Window, measure_window
from tests.support.processes import stack

_SIMULATOR = ("--engine", "simulator", "--model", MODEL, "--sim-decode-step-per-running-ms", "0")
_LOAD_STEP_MS = 20
_TTFT_STEP_MS = 6
_SPARE_SECONDS = 40
"""An answer lasts so much longer than its window: start, settling, and windows that end late."""
_WAYS: tuple[Way, Way] = ("http", "grpc")


def main() -> int:
    options = _options(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    facts = machine_facts()
    print(facts_line(facts), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix="drover-bench-") as folder:
            windows = _measure_load(Path(folder), options.streams, options.seconds)
            first = _measure_first_token(Path(folder), options.requests)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    print(f"\n{_load_report(windows)}\n\n{first.report()}")
    if options.json:
        _write_json(options.json, facts, windows, first)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.relay", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="length of a window (default 10)")
    parser.add_argument("--streams", type=_numbers, default=[32, 64, 256], help="default 32,64,256")
    parser.add_argument("--requests", type=int, default=200, help="first tokens each way (default 200)")
    parser.add_argument("--json", type=Path, help="a file for the raw numbers")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _measure_load(folder: Path, streams: Sequence[int], seconds: float) -> list[Window]:
    """Both ways one after the other at each number of streams, on the same processes."""
    per_second = 1000 / _LOAD_STEP_MS
    tokens = round((seconds + _SPARE_SECONDS) * per_second)
    script = write_script(folder, tokens)
    context = tokens + 256
    flags = [*_SIMULATOR, "--sim-script", str(script), "--sim-decode-step-base-ms", str(_LOAD_STEP_MS)]
    flags += ["--sim-running-limit", str(max(streams)), "--context-length", str(context)]
    flags += ["--sim-kv-tokens", str(context * max(streams))]
    windows = []
    with stack(folder, flags) as running:
        for count in streams:
            for way in _WAYS:
                progress(f"{count} streams at {per_second:g} tokens/s, {_describe(way)}: {seconds:g} s")
                plan = Plan(way, count, seconds, per_second, tokens)
                windows.append(asyncio.run(measure_window(running, plan)))  # uvloop would fork gRPC's threads
    return windows


def _measure_first_token(folder: Path, requests: int) -> Ttft:
    script = write_script(folder, 64)
    flags = [*_SIMULATOR, "--sim-script", str(script), "--sim-decode-step-base-ms", str(_TTFT_STEP_MS)]
    progress(f"time to first token: {requests} requests each way")
    with stack(folder, flags) as running:
        return uvloop.run(measure_ttft(running, requests))


def _load_report(windows: Sequence[Window]) -> str:
    heads = [
        "streams",
        "offered\ntok/s",
        "engine\ntok/s",
        "client\ntok/s",
        "tokens/\nmessage",
        "tokens\nbehind",
    ]
    heads += ["worker\nµs/token", "frontend\nµs/token", "worker\nµs/msg", "frontend\nµs/msg"]
    heads += ["worker\ncores", "frontend\ncores", "client\ncores", "machine\ncores"]
    notes = (
        "  client tok/s: received, and what costs are divided by",
        "  tokens behind: made and not received at the window's end, per stream",
        f"  machine cores: in use of {len(os.sched_getaffinity(0))}, by anybody; where all are, "
        "tokens pile up and leave together, by design",
    )
    rows = [_row(window) for window in windows]
    return "\n".join([table("CPU of each tier per relayed token", heads, rows), *notes])


def _row(window: Window) -> list[str]:
    relayed = window.way == "http"
    return [
        f"{window.streams} {_describe(window.way)}",
        *(f"{rate:.0f}" for rate in (window.offered, window.made, window.received)),
        f"{window.tokens_per_message:.2f}",
        f"{window.behind_tokens_per_stream:.1f}",
        f"{window.us_per_token('worker'):.1f}",
        f"{window.us_per_token('frontend'):.1f}" if relayed else "-",
        f"{window.us_per_message('worker'):.1f}",
        f"{window.us_per_message('frontend'):.1f}" if relayed else "-",
        *(f"{window.cores[name]:.2f}" for name in ("worker", "frontend", "client")),
        f"{window.machine_cores:.2f}",
    ]


def _describe(way: Way) -> str:
    return "HTTP, both" if way == "http" else "gRPC, worker"


def _write_json(path: Path, facts: dict[str, object], windows: Sequence[Window], first: Ttft) -> None:
    load = [asdict(window) for window in windows]
    path.write_text(json.dumps({"machine": facts, "load": load, "ttft": first.raw()}, indent=1) + "\n")
    print(f"\nraw numbers: {path}")


if __name__ == "__main__":
    sys.exit(main())
