"""Both tiers over llama.cpp against llama-server of the same build driven directly: `make bench-llamacpp`.

The same raw prompts, greedy, so that both decode the same tokens. Rounds alternate between the two, which are
both in memory all the time; ratios within this run count, not clocks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import orjson
import psutil

from benchmarks.http_stream import Connection
from benchmarks.llama_server import CONTEXT_TOKENS
from benchmarks.measure import facts_line, machine_facts
from benchmarks.table import progress, table
from engine_worker import default_model
from tests.support.processes import ROOT, stack

_ROUND_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Round:
    """`machine_cores`: cores in use by all processes during the round; what the side itself does not use is
    noise.
    """

    side: str
    tokens_per_second: float
    ttft_seconds: float
    tokens: int
    machine_cores: float


class LlamaServer:
    name = "llama-server"
    path = "/completion"

    def __init__(self, url: str) -> None:
        self.address = url.removeprefix("http://")

    def body(self, prompt: str, tokens: int) -> Mapping[str, object]:
        return {"prompt": prompt, "n_predict": tokens, "temperature": 0, "stream": True}

    def tokens_of(self, last: bytes) -> int:
        frame = last.strip().rpartition(b"\n\n")[2]
        return int(orjson.loads(frame.removeprefix(b"data: "))["tokens_predicted"])


class BothTiers:
    name = "both tiers"
    path = "/api/generate"

    def __init__(self, address: str) -> None:
        self.address = address

    def body(self, prompt: str, tokens: int) -> Mapping[str, object]:
        options = {"num_predict": tokens, "temperature": 0}
        return {"model": default_model.NAME, "prompt": prompt, "raw": True, "options": options}

    def tokens_of(self, last: bytes) -> int:
        return int(orjson.loads(last.strip().rpartition(b"\n")[2])["eval_count"])


Side = LlamaServer | BothTiers


async def stream(side: Side, prompt: str, tokens: int) -> tuple[float, int]:
    """Seconds to the first token, and the number of tokens."""
    began, first, last = time.perf_counter(), 0.0, b""
    async with Connection(side.address) as connection:
        async for chunk in connection.chunks(side.path, side.body(prompt, tokens)):
            first = first or time.perf_counter() - began
            last = chunk
    return first, side.tokens_of(last)


async def play_round(side: Side, number: int, streams: int, tokens: int) -> Round:
    prompts = [_prompt(number, at, side.name) for at in range(streams)]
    psutil.cpu_percent()
    began = time.perf_counter()
    async with asyncio.timeout(_ROUND_SECONDS):
        answers = await asyncio.gather(*(stream(side, prompt, tokens) for prompt in prompts))
    seconds = time.perf_counter() - began
    cores = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
    made = sum(count for _, count in answers)
    return Round(side.name, made / seconds, median(first for first, _ in answers), made, cores)


def _prompt(number: int, at: int, side: str) -> str:
    """A prompt that is new in each round, so that no prefix cache has it, and equally long for both sides."""
    mark = f"{number:02}-{at:02}-{side[:4]}"
    return f"Log {mark}. A long story of the sea, a ship and its captain, told at night by the fire. Once"


@contextmanager
def llama_server(slots: int, log: Path) -> Iterator[LlamaServer]:
    command = [sys.executable, "-m", "benchmarks.llama_server", str(default_model.gguf_path()), str(slots)]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        if not url:
            raise RuntimeError(f"llama-server did not start:\n{log.read_text(errors='replace')}")
        yield LlamaServer(url)
    finally:
        process.kill()
        process.wait()


def main() -> int:
    asked = _options()
    facts = machine_facts()
    print(facts_line(facts), flush=True)
    with ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="drover-llamacpp-")))
        flags = ["--engine", "llamacpp", "--slots", str(asked.streams), "--keep-alive", "-1"]
        flags += ["--context-length", str(CONTEXT_TOKENS)]
        tiers = owned.enter_context(stack(folder, flags))
        direct = owned.enter_context(llama_server(asked.streams, folder / "llama-server.log"))
        rounds = asyncio.run(_alternate([direct, BothTiers(tiers.frontend.address)], asked))
    print(_report(rounds, asked))
    if asked.json:
        asked.json.write_text(
            json.dumps({"machine": facts, "rounds": [asdict(each) for each in rounds]}, indent=1)
        )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llamacpp", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="rounds of each side (default 6)")
    parser.add_argument("--streams", type=int, default=16, help="at the same time (default 16)")
    parser.add_argument("--tokens", type=int, default=64, help="of each answer (default 64)")
    parser.add_argument("--json", type=Path, help="a file for the raw numbers")
    return parser.parse_args()


async def _alternate(sides: Sequence[Side], asked: argparse.Namespace) -> list[Round]:
    """Run one warm-up round of each side, then rounds whose order alternates."""
    rounds = []
    for number in range(asked.rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            played = await play_round(side, number, asked.streams, asked.tokens)
            progress(
                f"round {number} {side.name}: {played.tokens_per_second:.0f} tokens/s, "
                f"first token {played.ttft_seconds:.2f} s"
            )
            if number:
                rounds.append(played)
    return rounds


def _report(rounds: Sequence[Round], asked: argparse.Namespace) -> str:
    by_side = {
        name: [each for each in rounds if each.side == name] for name in ("llama-server", "both tiers")
    }
    rows = [
        [
            name,
            f"{median(each.tokens_per_second for each in played):.0f}",
            " ".join(f"{each.tokens_per_second:.0f}" for each in played),
            f"{median(each.ttft_seconds for each in played):.2f}",
            f"{median(each.machine_cores for each in played):.2f}",
        ]
        for name, played in by_side.items()
    ]
    heads = ["side", "tokens/s\nmedian", "each round", "first token\np50, s", "machine\ncores"]
    direct, tiers = by_side["llama-server"], by_side["both tiers"]
    pairs = list(zip(direct, tiers, strict=True))
    speed = median(ours.tokens_per_second / theirs.tokens_per_second for theirs, ours in pairs)
    first = median(ours.ttft_seconds / theirs.ttft_seconds for theirs, ours in pairs)
    return (
        table(f"{asked.streams} streams of {asked.tokens} tokens, {len(pairs)} rounds each", heads, rows)
        + f"\n  both tiers / llama-server, median of rounds: tokens/s {speed:.2f} (target: at least 1.0), "
        + f"first token {first:.2f} (target: at most 1.0)"
    )


if __name__ == "__main__":
    sys.exit(main())
