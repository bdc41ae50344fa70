"""`make bench-engine`: what a token costs in a worker's process with a real engine, and whose work it is.

Chats at the same time through both tiers, while py-spy samples the worker's own process: not SGLang's
scheduler and detokenizer, nor llama.cpp, which are processes of their own. A sample is of the thread that
holds the interpreter's lock. The samples share out the CPU that the process used in all, gRPC's own threads
included, so each figure is a little too large; their ratios are not.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.client.dialects import DIALECTS
from benchmarks.client.load import Load, Totals
from benchmarks.goals import Goal
from benchmarks.measure import CpuMeter, cpu_use, facts_line, machine_facts
from benchmarks.parts.base import Part
from benchmarks.result_files import RESULTS, write
from benchmarks.stacks import OWNERS, Owner, count, functions, shares
from benchmarks.table import progress, table
from tests.support.processes import SMALL_CACHE, Stack, stack

PY_SPY = "DROVER_PY_SPY"
_SAMPLES_A_SECOND = 1000
_TOKENS = 128
_PROMPT = "Write a long story about a lighthouse keeper."
_WARM_UP_SECONDS = 3.0
_FLAGS = ("--name", "smol", "--slots", "16", "--context-length", "2048")


@dataclass(frozen=True, slots=True)
class Profile:
    """`us_per_token`: CPU microseconds of the worker's process; `text`: py-spy's samples of it."""

    engine: str
    totals: Totals
    us_per_token: float
    shares: Mapping[Owner, float]
    text: str

    def us(self, name: Owner) -> float:
        return self.us_per_token * self.shares[name]


def main() -> int:
    asked = _options()
    if not os.environ.get(PY_SPY):
        print(f"{PY_SPY} must name the command py-spy (make bench-engine does)", file=sys.stderr)
        return 2
    print(facts_line(machine_facts()), flush=True)
    flags = ["--engine", asked.engine, *_FLAGS, *((SMALL_CACHE,) if asked.engine == "sglang" else ())]
    with tempfile.TemporaryDirectory(prefix="drover-profile-") as name, stack(Path(name), flags) as running:
        samples = Path(name) / "samples.txt"
        totals, us = uvloop.run(_measure(asked, running, samples))
        text = samples.read_text(encoding="utf-8")
    profile = Profile(asked.engine, totals, us, shares(text), text)
    part = _part(profile)
    print(part.report())
    write(part, machine_facts(), asked.results)
    return 1 if totals.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_profile", description=__doc__)
    parser.add_argument("--engine", choices=("llamacpp", "sglang"), default="llamacpp")
    parser.add_argument("--seconds", type=float, default=40, help="(default 40)")
    parser.add_argument("--streams", type=int, default=16, help="(default 16)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results' file")
    return parser.parse_args()


async def _measure(asked: argparse.Namespace, running: Stack, samples: Path) -> tuple[Totals, float]:
    """The load's totals, and the CPU microseconds of the worker's process per token."""
    await _load(running, _WARM_UP_SECONDS, asked.streams).run(Totals())
    progress(f"{asked.streams} chats at the same time: {asked.seconds:g} s")
    totals, meter = Totals(), CpuMeter({"worker": running.worker.pid}, with_children=False)
    before = meter.read()
    sampler = await asyncio.create_subprocess_exec(
        os.environ[PY_SPY],
        *("record", "--pid", str(running.worker.pid), "--format", "raw", "--output", str(samples)),
        *("--rate", str(_SAMPLES_A_SECOND), "--duration", str(round(asked.seconds)), "--full-filenames"),
        *("--gil", "--nonblocking"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    await _load(running, asked.seconds, asked.streams).run(totals)
    after = meter.read()
    _, errors = await sampler.communicate()
    if sampler.returncode:
        raise RuntimeError(f"py-spy ended with {sampler.returncode}: {errors.decode(errors='replace')}")
    cores = cpu_use(before, after).by_name["worker"]
    return totals, 1e6 * cores * totals.seconds / max(1, totals.tokens)


def _load(running: Stack, seconds: float, streams: int) -> Load:
    address = running.frontend.address
    return Load(address, False, DIALECTS["chat"], "smol", _PROMPT, _TOKENS, seconds, streams)


def _part(profile: Profile) -> Part:
    rows = [[name, f"{profile.us(name):.1f}", f"{profile.shares[name]:.1%}"] for name in OWNERS]
    rows.append(["all", f"{profile.us_per_token:.1f}", f"{count(profile.text)} samples"])
    title = f"CPU of the worker's own process for a token, ENGINE={profile.engine}"
    tables = [table(title, ["", "µs/token", "share"], rows), profile.totals.report()]
    for name in OWNERS:
        found = functions(profile.text, name)
        costs = [[function, f"{profile.us_per_token * share:.1f}"] for function, share in found]
        tables += [table(name, ["function", "µs/token"], costs)] if costs else []
    raw = {
        **profile.totals.raw(),
        "engine": profile.engine,
        "us_per_token": {name: profile.us(name) for name in OWNERS} | {"process": profile.us_per_token},
    }
    return Part(f"engine_{profile.engine}", "\n\n".join(tables), _goals(profile), raw)


def _goals(profile: Profile) -> list[Goal]:
    if profile.engine != "sglang":
        return []
    theirs, ours = profile.us("engine's Python"), profile.us("our adapter")
    ratio = ours / theirs if theirs else None
    return [Goal("our adapter / SGLang's tokenizer manager", ratio, "at most", 1 / 3)]


if __name__ == "__main__":
    sys.exit(main())
