"""Streams that send one request after the other, and their totals."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.client.answer import Answer
from benchmarks.client.connection import Connection, connect, request_bytes
from benchmarks.client.dialects import Dialect
from benchmarks.client.histogram import Histogram
from benchmarks.client.numbered import Order
from benchmarks.client.pace import Pace
from benchmarks.table import table

_PERCENTILES = (50, 90, 99, 99.9)
_SECONDS_TO_FINISH = 120.0


@dataclass(slots=True)
class Totals:
    """Totals of all finished responses. `tokens`: the server's own count if it has one, else lines."""

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
    """`rate`: see Pace. `numbered`: each response must be `tokens` numbered tokens, else any text."""

    address: str
    tls: bool
    dialect: Dialect
    model: str
    prompt: str
    tokens: int
    seconds: float
    streams: int
    rate: float | None = None
    numbered: bool = False

    async def run(self, totals: Totals) -> None:
        """Raises OSError if a connection cannot be made at the start."""
        pace = Pace(self.rate)
        connections = [await connect(self.address, self.tls) for _ in range(self.streams)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as streams:
            for connection in connections:
                streams.create_task(self._stream(connection, began + self.seconds, pace, totals))
        totals.seconds = time.monotonic() - began

    async def _stream(self, connection: Connection, until: float, pace: Pace, totals: Totals) -> None:
        while await pace.turn(until):
            order = Order() if self.numbered else None
            answer, asked_at = Answer(self.dialect, totals.gaps, order), time.monotonic()
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
            if self.numbered and answer.tokens != self.tokens and not answer.problem:
                answer.problem = f"{answer.tokens} tokens instead of {self.tokens}"
            totals.add(answer, asked_at)
            if answer.problem and not answer.lines:
                await asyncio.sleep(0.1)  # A server that refuses is not to be flooded.
        connection.close()

    def _request(self) -> bytes:
        # A new beginning each time, so that no prefix cache has it.
        messages = [{"role": "user", "content": f"{secrets.token_hex(4)} {self.prompt}"}]
        return request_bytes(
            self.address, self.dialect.path, self.dialect.body(self.model, messages, self.tokens)
        )


def _on_loop(monotonic: float) -> float:
    return asyncio.get_running_loop().time() + monotonic - time.monotonic()
