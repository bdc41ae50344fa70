"""A load client for any Ollama server: many streams at once, speed, gaps, and whether they are sound.

Each stream asks one question after the other over a kept-alive connection. All lines are read and checked:
that they are what the API says, that each answer ends, and that nothing comes after its end. The first
requests of all streams count too, so a server that loads its model first should be asked once before.

Exits with 1 if an answer was broken or refused, and with 2 if the server cannot be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import uvloop

from benchmarks.client.answer import Answer
from benchmarks.client.connection import Connection, connect, request_bytes
from benchmarks.client.dialects import DIALECTS, Dialect, Name
from benchmarks.client.histogram import Histogram
from benchmarks.client.pace import Pace
from benchmarks.table import table

_PERCENTILES = (50, 90, 99, 99.9)
_SECONDS_TO_FINISH = 120.0


@dataclass(slots=True)
class Totals:
    """Of all answers that are over. `tokens`: the server's own count where it gives one, else lines."""

    answers: int = 0
    lines: int = 0
    messages: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first: Histogram = field(default_factory=Histogram)
    gaps: Histogram = field(default_factory=Histogram)
    problems: Counter[str] = field(default_factory=Counter)

    def add(self, answer: Answer, asked_at: float) -> None:
        if answer.problem:
            self.problems[answer.problem] += 1
        self.answers += 1
        self.lines += answer.lines
        self.messages += answer.messages
        self.tokens += answer.said_tokens or answer.tokens
        if answer.lines:
            self.first.add(answer.first_at - asked_at)

    def raw(self) -> Mapping[str, object]:
        return {
            "answers": self.answers,
            "seconds": self.seconds,
            "tokens": self.tokens,
            "tokens_per_second": self.tokens / self.seconds,
            "lines": self.lines,
            "lines_per_message": self.lines / self.messages if self.messages else None,
            "ttft_ms": {f"p{percent:g}": 1000 * self.first.percentile(percent) for percent in _PERCENTILES},
            "gap_ms": {f"p{percent:g}": 1000 * self.gaps.percentile(percent) for percent in _PERCENTILES},
            "problems": dict(self.problems),
        }

    def report(self) -> str:
        rows = [
            [name, *(f"{1000 * times.percentile(percent):.1f}" for percent in _PERCENTILES), str(times.count)]
            for name, times in (("time to first token", self.first), ("gap between lines", self.gaps))
        ]
        heads = ["milliseconds", *(f"p{percent:g}" for percent in _PERCENTILES), "count"]
        rate = self.tokens / self.seconds
        summary = (
            f"{self.answers} answers in {self.seconds:.1f} s: {self.tokens} tokens, {rate:.1f} tokens/s, "
            f"{self.answers / self.seconds:.2f} answers/s, {self.lines} lines in {self.messages} HTTP chunks"
        )
        problems = [f"  {count} × {problem}" for problem, count in self.problems.most_common(10)]
        verdict = [f"BROKEN: {self.problems.total()} of {self.answers} answers", *problems]
        return "\n".join([table(summary, heads, rows), *(verdict if problems else ["every line is sound"])])


@dataclass(frozen=True, slots=True)
class Load:
    address: str
    tls: bool
    dialect: Dialect
    model: str
    prompt: str
    tokens: int
    seconds: float
    streams: int
    rate: float | None

    async def run(self) -> Totals:
        """Raises OSError if a connection cannot be made at the start."""
        totals, pace = Totals(), Pace(self.rate)
        connections = [await connect(self.address, self.tls) for _ in range(self.streams)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as streams:
            for connection in connections:
                streams.create_task(self._stream(connection, began + self.seconds, pace, totals))
        totals.seconds = time.monotonic() - began
        return totals

    async def _stream(self, connection: Connection, until: float, pace: Pace, totals: Totals) -> None:
        while await pace.turn(until):
            answer, asked_at = Answer(self.dialect, totals.gaps, None), time.monotonic()
            try:
                async with asyncio.timeout_at(_on_loop(until) + _SECONDS_TO_FINISH):
                    if connection.is_closed:
                        connection = await connect(self.address, self.tls)
                    await connection.ask(self._request(), answer)
            except TimeoutError:
                answer.problem = f"not over {_SECONDS_TO_FINISH:g} s after the end of the load"
                connection.close()
            except OSError as error:
                answer.problem = f"cannot connect: {error}"
            totals.add(answer, asked_at)
            if answer.problem and not answer.lines:
                await asyncio.sleep(0.1)  # A server that refuses is not to be flooded.
        connection.close()

    def _request(self) -> bytes:
        # Always new at the beginning, so that no prefix cache knows it.
        messages = [{"role": "user", "content": f"{secrets.token_hex(4)} {self.prompt}"}]
        return request_bytes(
            self.address, self.dialect.path, self.dialect.body(self.model, messages, self.tokens)
        )


def _on_loop(monotonic: float) -> float:
    return asyncio.get_running_loop().time() + monotonic - time.monotonic()


def main() -> int:
    asked = _options()
    url = urlsplit(asked.url if "//" in asked.url else f"http://{asked.url}")
    if not url.hostname or url.scheme not in ("http", "https"):
        print(f"--url {asked.url!r} is no http:// or https:// address", file=sys.stderr)
        return 2
    tls = url.scheme == "https"
    address = f"{url.hostname}:{url.port or (443 if tls else 80)}"
    load = Load(
        address,
        tls,
        DIALECTS[asked.api],
        asked.model,
        asked.prompt,
        asked.tokens,
        asked.seconds,
        asked.streams,
        asked.rate,
    )
    try:
        totals = uvloop.run(load.run())
    except OSError as error:
        print(f"{address} cannot be reached: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(totals.report())
    if asked.json:
        asked.json.write_text(json.dumps(totals.raw(), indent=1) + "\n", encoding="utf-8")
    return 1 if totals.problems else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", required=True, help="the server, such as http://127.0.0.1:11434")
    parser.add_argument("--model", required=True)
    parser.add_argument("--streams", type=int, default=16, help="at the same time (default 16)")
    parser.add_argument("--seconds", type=float, default=30, help="no new questions after this (default 30)")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer at most (default 128)")
    parser.add_argument("--rate", type=float, help="new questions a second, of all streams together")
    parser.add_argument("--api", choices=get_args(Name), default="chat", help="(default: chat, Ollama's)")
    parser.add_argument("--prompt", default="Write a long story about a lighthouse keeper.")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
