"""Latency that idle tiers add: to each token of one stream, and to the first one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import uvloop

from benchmarks.answers import MODEL, question
from benchmarks.client.connection import connect, request_bytes
from benchmarks.client.dialects import DIALECTS
from benchmarks.goals import Goal
from benchmarks.measure import percentile
from benchmarks.parts.base import Effort, Part
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer
from benchmarks.targets.drover import simulator_flags
from benchmarks.ttft import TARGET_MS, measure_ttft
from tests.support.processes import Stack, frontend, stack, worker

_STEP_MS = 20
_TTFT_STEP_MS = 6
_TTFT_REQUESTS = 200
_CHAT = DIALECTS["chat"]
_SPARE_SECONDS = 30.0


class Stamps:
    """Implements client.connection.Body: when each token was made, and when its line was there."""

    def __init__(self) -> None:
        self._rest = b""
        self.problem = ""
        self.messages = 0
        self.lines = 0
        self.made: list[float] = []
        self.came: list[float] = []

    def read(self, body: bytes, at: float) -> bool:
        *lines, self._rest = (self._rest + body).split(b"\n")
        for line in lines:
            made = [float(stamp) for stamp in _CHAT.read(line).text.split(";") if stamp]
            self.made += made
            self.came += [time.monotonic()] * len(made)
            self.lines += bool(made)
        return bool(lines)

    def end(self) -> None:
        """Nothing to check: every requested token has arrived."""

    @property
    def delays_ms(self) -> Sequence[float]:
        """Time of each token from the engine step to the client."""
        return [1000 * (came - made) for made, came in zip(self.made, self.came, strict=True)]

    @property
    def added_gaps_ms(self) -> Sequence[float]:
        """Time between two tokens at the client minus that at the engine; may be negative."""
        return [later - earlier for earlier, later in pairwise(self.delays_ms)]


def measure(effort: Effort) -> Part:
    stamps = _stamps(effort)
    progress(f"time to first token: {_TTFT_REQUESTS} requests each way")
    flags = simulator_flags(effort.folder, Offer(1, 64, _TTFT_STEP_MS))
    with stack(effort.folder, flags) as running:
        first = uvloop.run(measure_ttft(running, _TTFT_REQUESTS))
    delays, gaps = stamps.delays_ms, stamps.added_gaps_ms
    rows = [_row("engine to client", delays), _row("added gap", gaps)]
    title = f"One stream at {1000 / _STEP_MS:g} tokens/s, {len(delays)} tokens, milliseconds"
    heads = ["", "p50", "p90", "p99", "max"]
    goals = [
        Goal("added inter-token latency, p50", percentile(gaps, 50), "below", 1.0, " ms"),
        Goal("added inter-token latency, p99", percentile(gaps, 99), "below", 3.0, " ms"),
        Goal("a token's way from engine to client, p50", percentile(delays, 50), "below", 1.0, " ms"),
        Goal("a token's way from engine to client, p99", percentile(delays, 99), "below", 3.0, " ms"),
        Goal("tokens of a line", len(stamps.made) / stamps.lines, "at most", 1.0),
        Goal("added time to first token, p50", first.added_ms, "below", TARGET_MS, " ms"),
    ]
    raw = {"delays_ms": delays, "ttft": first.raw()}
    return Part("idle", f"{table(title, heads, rows)}\n\n{first.report()}", goals, raw)


def _stamps(effort: Effort) -> Stamps:
    seconds = 2 * effort.seconds
    tokens = round(seconds * 1000 / _STEP_MS)
    progress(f"one stream: {seconds:g} s")
    with _stamped_stack(effort.folder, Offer(1, tokens, _STEP_MS)) as running:
        return uvloop.run(_one_stream(running.frontend.address, tokens, seconds))


@contextmanager
def _stamped_stack(folder: Path, offer: Offer) -> Iterator[Stack]:
    flags = simulator_flags(folder, offer)
    with ExitStack() as owned:
        module = "benchmarks.targets.stamped_worker"
        one = owned.enter_context(worker(folder / "stamped.log", *flags, module=module))
        other = owned.enter_context(frontend(folder / "frontend.log", [one.address]))
        yield Stack(one, other)


async def _one_stream(address: str, tokens: int, seconds: float) -> Stamps:
    stamps, connection = Stamps(), await connect(address)
    body = _CHAT.body(MODEL, [{"role": "user", "content": question()}], tokens)
    async with asyncio.timeout(seconds + _SPARE_SECONDS):
        await connection.ask(request_bytes(address, _CHAT.path, body), stamps)
    connection.close()
    if stamps.problem or len(stamps.made) != tokens:
        raise RuntimeError(f"the stream broke after {len(stamps.made)} tokens: {stamps.problem}")
    return stamps


def _row(name: str, values: Sequence[float]) -> list[str]:
    numbers = (*(percentile(values, percent) for percent in (50, 90, 99)), max(values))
    return [name, *(f"{number:.2f}" for number in numbers)]
