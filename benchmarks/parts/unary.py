"""CPU cost of unary requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import uvloop

from benchmarks.answers import http_body, question
from benchmarks.client.connection import request_bytes
from benchmarks.client.unary import repeated
from benchmarks.goals import Goal
from benchmarks.measure import CpuMeter, cpu_use
from benchmarks.parts.base import Effort, Part
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer, Target
from benchmarks.targets.drover import drover

_TOKENS = 128
_CONNECTIONS = 16
_SETTLE_SECONDS = 1.0
_VERSION = "/api/version"


@dataclass(frozen=True, slots=True)
class Unary:
    """`us`: CPU microseconds of one request, by tier."""

    name: str
    per_second: float
    us: Mapping[str, float]


def measure(effort: Effort) -> Part:
    rows: list[Unary] = []
    for tokens_a_step, name in ((1, "one token a step"), (_TOKENS, "all in one step")):
        offer = Offer(_CONNECTIONS, _TOKENS, 0, tokens_a_step)
        with drover("this tree", effort.folder / f"unary-{tokens_a_step}", offer) as target:
            if not rows:
                rows.append(_run(target, _VERSION, _get(target.address), effort))
            rows.append(_run(target, f"chat of {_TOKENS} tokens, {name}", _chat(target.address), effort))
    version, chat, _ = rows
    goals = [
        Goal(f"{_VERSION}, requests/s for a core", 1e6 / version.us["frontend"], "above", 8000),
        Goal(f"CPU of an unstreamed {_TOKENS}-token chat", sum(chat.us.values()) / 1000, "below", 1.5, " ms"),
    ]
    return Part("unary", _table(rows), goals, {"requests": [asdict(row) for row in rows]})


def _run(target: Target, name: str, request: bytes, effort: Effort) -> Unary:
    progress(f"{name}: {effort.seconds:g} s")
    return uvloop.run(_measure(target, name, request, effort.seconds))


async def _measure(target: Target, name: str, request: bytes, seconds: float) -> Unary:
    meter = CpuMeter(target.pids)
    connections = await repeated(target.address, request, _CONNECTIONS)
    await asyncio.sleep(_SETTLE_SECONDS)
    answers, before = sum(each.answers for each in connections), meter.read()
    await asyncio.sleep(seconds)
    answers, after = sum(each.answers for each in connections) - answers, meter.read()
    if problems := [each.problem for each in connections if each.problem]:
        raise RuntimeError(f"{name}: {problems[0]}")
    for connection in connections:
        connection.stop()
    use = cpu_use(before, after).by_name
    rate = answers / (after.at - before.at)
    return Unary(name, rate, {tier: 1e6 * cores / rate for tier, cores in use.items()})


def _get(address: str) -> bytes:
    return f"GET {_VERSION} HTTP/1.1\r\nhost: {address}\r\n\r\n".encode()


def _chat(address: str) -> bytes:
    return request_bytes(address, "/api/chat", {**http_body(question(), _TOKENS), "stream": False})


def _table(rows: Sequence[Unary]) -> str:
    heads = ["", "requests/s", "worker\nµs", "frontend\nµs", "both\nµs"]
    cells = [
        [
            row.name,
            f"{row.per_second:.0f}",
            f"{row.us['worker']:.0f}",
            f"{row.us['frontend']:.0f}",
            f"{sum(row.us.values()):.0f}",
        ]
        for row in rows
    ]
    note = "  the worker's CPU holds the simulator's own for each token"
    return f"{table(f'Requests with one answer, {_CONNECTIONS} connections', heads, cells)}\n{note}"
