"""A source that makes more than can be relayed: how much is, in order, in memory that does not grow."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict

from benchmarks.goals import Goal
from benchmarks.parts.base import Effort, Part
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer, Target
from benchmarks.targets.drover import drover
from benchmarks.window import Window, observe, running_load

_STREAMS = 256
_OFFERS = (Offer(_STREAMS, 50_000, step_ms=2), Offer(_STREAMS, 100_000, step_ms=10, tokens_a_step=8))
"""128,000 and 204,800 tokens/s: more than two cores relay. With eight tokens a step, as speculative decoding
may give, the simulator's own work per token is small.
"""
_SETTLE_SECONDS = 2.0


def measure(effort: Effort) -> Part:
    windows: dict[int, Sequence[Window]] = {}
    for offer in _OFFERS:
        tokens_a_step = offer.tokens_a_step
        folder = effort.folder / f"saturated-{tokens_a_step}"
        progress(f"saturated, {tokens_a_step} tokens a step: {2 * effort.seconds:g} s")
        with drover("this tree", folder, offer) as target:
            windows[tokens_a_step] = asyncio.run(_two(target, offer, effort.seconds))
    best = max((window for pair in windows.values() for window in pair), key=lambda each: each.received)
    grown = max(_bytes_a_token(*pair) for pair in windows.values())
    goals = [
        Goal("tokens/s relayed, in order (each was checked)", best.received, "at least", 60_000),
        Goal(
            "growth of the frontend's memory for a relayed token",
            grown,
            "at most",
            100,
            " bytes",
            "it keeps each answer to resume it elsewhere; a buffer without a bound would show here",
        ),
    ]
    raw = {"windows": {str(name): [asdict(one) for one in pair] for name, pair in windows.items()}}
    return Part("saturated", _table(windows), goals, raw)


def _bytes_a_token(first: Window, last: Window) -> float:
    grown = last.memory_mb["frontend"] - first.memory_mb["frontend"]
    return 1e6 * grown / (last.received * last.seconds)


async def _two(target: Target, offer: Offer, seconds: float) -> Sequence[Window]:
    async with running_load(target, offer) as generator:
        await asyncio.sleep(_SETTLE_SECONDS)
        return [await observe(target, offer, generator, seconds, "chat") for _ in range(2)]


def _table(windows: dict[int, Sequence[Window]]) -> str:
    heads = ["tokens a step", "client\ntok/s", "worker\nµs/token", "frontend\nµs/token", "tokens/\nline"]
    heads += ["tokens/\nmessage", "gap p99\nms", "worker\nMB", "frontend\nMB", "machine\ncores"]
    rows = [
        [
            f"{tokens}, {'first' if number == 0 else 'second'} window",
            f"{window.received:.0f}",
            f"{window.us_per_token['worker']:.1f}",
            f"{window.us_per_token['frontend']:.1f}",
            f"{window.tokens_per_line:.1f}",
            f"{window.tokens_per_message:.1f}",
            f"{window.gap_p99_ms:.0f}",
            f"{window.memory_mb['worker']:.0f}",
            f"{window.memory_mb['frontend']:.0f}",
            f"{window.machine_cores:.2f}",
        ]
        for tokens, pair in windows.items()
        for number, window in enumerate(pair)
    ]
    return table(f"Saturated: {_STREAMS} streams from a source that makes more", heads, rows)
