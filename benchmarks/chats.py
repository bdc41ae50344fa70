"""The real model on this machine next to a real Ollama: `python -m benchmarks.chats [--engine sglang]`.

1, 4 and 16 clients, each with one chat after the other, through both tiers and the engine. CPU is that of the
tiers' own processes, without those of the engine. SGLang needs the
Python of its environment in DROVER_SGLANG_PYTHON (`scripts/setup.sh sglang` prints it).
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

import orjson
import uvloop

from benchmarks.http_stream import Connection
from benchmarks.measure import CpuMeter, facts_line, machine_facts
from benchmarks.table import progress, table
from tests.support.processes import Stack, stack

_CONCURRENCY = (1, 4, 16)
_OLLAMA = {1: ("102", "14 ms"), 4: ("118", "288 ms"), 16: ("120", "4.7 s")}
"""Tokens/s and TTFT p50 of Ollama 0.33 with 4 slots on a quiet machine of this size, measured once."""
_TOKENS = 64
_LEAST_CHATS = 10
_CHAT_SECONDS = 180.0
_WORKER = ("--name", "smol", "--slots", "16", "--context-length", "2048")
_TOPICS = (
    "the sea",
    "a lost dog",
    "a clockmaker",
    "the first snow",
    "two sisters",
    "an old train",
    "a desert",
)


@dataclass(frozen=True, slots=True)
class Chat:
    first_seconds: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Result:
    threads: str
    clients: int
    chats: list[Chat]
    wall_seconds: float
    cpu_seconds: Mapping[str, float]

    @property
    def tokens_per_second(self) -> float:
        return sum(chat.tokens for chat in self.chats) / self.wall_seconds

    def _cpu_per_token(self, tier: str) -> str:
        return f"{1e6 * self.cpu_seconds[tier] / sum(chat.tokens for chat in self.chats):.0f} µs"

    def row(self) -> list[str]:
        ollama_rate, ollama_first = _OLLAMA[self.clients]
        tokens = [chat.tokens for chat in self.chats]
        return [
            f"{self.clients} at once, {self.threads} threads",
            f"{self.tokens_per_second:.1f}",
            ollama_rate,
            f"{1000 * median(chat.first_seconds for chat in self.chats):.0f} ms",
            ollama_first,
            str(len(self.chats)),
            f"{sum(tokens) / len(tokens):.1f}",
            self._cpu_per_token("frontend"),
            self._cpu_per_token("worker"),
        ]


def main() -> int:
    options = _options(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(facts_line(machine_facts()), flush=True)
    try:
        results = [
            result
            for threads in options.threads
            for result in _measure(options.engine, threads, options.rounds)
        ]
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    heads = [
        "",
        "tok/s",
        "Ollama\ntok/s",
        "TTFT\np50",
        "Ollama\nTTFT p50",
        "chats",
        "tokens\neach",
        "frontend\nCPU/tok",
        "worker\nCPU/tok",
    ]
    title = (
        f"Chats of {_TOKENS} tokens, SmolLM2-135M, both tiers and {options.engine} with 16 slots (Ollama: 4)"
    )
    print("\n" + table(title, heads, [result.row() for result in results]))
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chats", description=__doc__)
    parser.add_argument("--engine", choices=("llamacpp", "sglang"), default="llamacpp")
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[0, 2],
        help="the worker's threads, a run for each; 0: its default (default: 0 2)",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="chats of each client (default 3), but 10 in all at least"
    )
    return parser.parse_args(arguments)


def _measure(engine: str, threads: int, rounds: int) -> list[Result]:
    name = str(threads or "default")
    flags = ["--engine", engine, *_WORKER, *(("--threads", str(threads)) if threads else ())]
    results = []
    with tempfile.TemporaryDirectory(prefix="drover-bench-") as folder, stack(Path(folder), flags) as running:
        for clients in _CONCURRENCY:
            progress(f"{clients} chats at once, {name} threads")
            results.append(uvloop.run(_crowd(running, name, clients, rounds)))
    return results


async def _crowd(running: Stack, threads: str, clients: int, rounds: int) -> Result:
    address, numbers = running.frontend.address, count(1)
    pids = {"frontend": running.frontend.pid, "worker": running.worker.pid}
    meter = CpuMeter(pids)
    async with Connection(address) as warm:
        await _chat(warm, 0)
    rounds = max(rounds, _LEAST_CHATS // clients)
    before, began = meter.read(), time.perf_counter()
    crowds = await asyncio.gather(*(_client(address, numbers, rounds) for _ in range(clients)))
    wall_seconds, after = time.perf_counter() - began, meter.read()
    used = {tier: after.by_name[tier] - before.by_name[tier] for tier in pids}
    return Result(threads, clients, [chat for chats in crowds for chat in chats], wall_seconds, used)


async def _client(address: str, numbers: Iterator[int], rounds: int) -> list[Chat]:
    async with Connection(address) as connection:
        return [await _chat(connection, next(numbers)) for _ in range(rounds)]


async def _chat(connection: Connection, number: int) -> Chat:
    topic = _TOPICS[number % len(_TOPICS)]
    body = {
        "model": "smol",
        "messages": [{"role": "user", "content": f"Write a long story about {topic}, number {number}."}],
        "options": {"num_predict": _TOKENS, "temperature": 0.8, "seed": number},
    }
    began = time.perf_counter()
    first_seconds, last = 0.0, b""
    async with asyncio.timeout(_CHAT_SECONDS):
        async for chunk in connection.chunks("/api/chat", body):
            first_seconds = first_seconds or time.perf_counter() - began
            last = chunk
    done = orjson.loads(last.strip().rpartition(b"\n")[2])
    if "error" in done:
        raise RuntimeError(f"chat {number}: {done['error']}")
    return Chat(first_seconds, done["eval_count"])


if __name__ == "__main__":
    sys.exit(main())
