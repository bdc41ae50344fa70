"""Cost of a token late in a long response, after a long conversation, and with many workers."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import get_args

from benchmarks.goals import Goal
from benchmarks.parts.base import Effort, Part
from benchmarks.parts.relay import ratio
from benchmarks.routing_cost import measure_report, measure_routing
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer, Target
from benchmarks.targets.drover import drover
from benchmarks.window import Window, measure_window, observe, running_load
from frontend.routing.policies import PolicyName

_LONG_TOKENS = 16_384
_LONG_STREAMS = 8
_LONG_STEP_MS = 3
_TURNS = 200
_TURN_STREAMS = 64
_TURN_STEP_MS = 20
_TURN_PROMPT_TOKENS = 32 * 256
_WORKERS = (1, 4, 16, 64, 256)
_MANY = _WORKERS[-1]
_REPORTING = (16, _MANY)
_POLICIES: tuple[PolicyName, ...] = get_args(PolicyName)
_LIMIT = 1.1
_SETTLE_SECONDS = 1.5


def measure(effort: Effort) -> Part:
    early, late = _long_answer(effort)
    short, long = _conversations(effort)
    progress(f"routing over {', '.join(map(str, _WORKERS))} workers")
    routing = {policy: asyncio.run(measure_routing(policy, _WORKERS)) for policy in _POLICIES}
    reports = {count: asyncio.run(measure_report("prefix", count)) for count in _REPORTING}
    turns_ratio = ratio(long, short)
    rows = [
        [f"answer of {_LONG_TOKENS} tokens, its beginning", *_cells(early)],
        [f"answer of {_LONG_TOKENS} tokens, its end", *_cells(late)],
        ["after one message", *_cells(short[0])],
        [f"after {_TURNS} messages", *_cells(long[0])],
    ]
    heads = ["", "worker\nµs/token", "frontend\nµs/token", "both\nµs/token", "client\ntok/s"]
    routes = [[policy, *(f"{us:.1f}" for us in by_count.values())] for policy, by_count in routing.items()]
    routes.append(["a report", *(f"{reports[count]:.1f}" if count in reports else "" for count in _WORKERS)])
    shown = "\n\n".join(
        [
            table("Growth: CPU per token", heads, rows),
            table(
                "Routing a request, in process, over fake workers: µs by their number",
                ["", *map(str, _WORKERS)],
                routes,
            ),
        ]
    )
    goals = [
        Goal(f"CPU per token, end / beginning of {_LONG_TOKENS}", late.us / early.us, "at most", _LIMIT),
        Goal(f"CPU per token after {_TURNS} messages / one", turns_ratio, "at most", _LIMIT),
        *(
            Goal(f"routing over {_MANY} workers / one, {policy}", us[_MANY] / us[1], "at most", _LIMIT)
            for policy, us in routing.items()
        ),
    ]
    windows = {"answer": [asdict(early), asdict(late)], "turns": [asdict(one) for one in (*short, *long)]}
    routing_us = {policy: {str(count): us for count, us in by.items()} for policy, by in routing.items()}
    report_us = {str(count): us for count, us in reports.items()}
    raw = {**windows, "routing_us": routing_us, "report_us": report_us}
    return Part("growth", shown, goals, raw)


def _long_answer(effort: Effort) -> tuple[Window, Window]:
    """Its first window and its last one."""
    offer = Offer(_LONG_STREAMS, _LONG_TOKENS, _LONG_STEP_MS)
    whole_seconds = _LONG_TOKENS * _LONG_STEP_MS / 1000
    seconds = min(effort.seconds, whole_seconds / 5)
    progress(f"an answer of {_LONG_TOKENS} tokens: {whole_seconds:.0f} s")
    with drover("this tree", effort.folder / "long", offer) as target:
        return asyncio.run(_first_and_last(target, offer, seconds, whole_seconds))


async def _first_and_last(
    target: Target, offer: Offer, seconds: float, whole_seconds: float
) -> tuple[Window, Window]:
    async with running_load(target, offer) as generator:
        await asyncio.sleep(_SETTLE_SECONDS)
        early = await observe(target, offer, generator, seconds, "chat")
        await asyncio.sleep(whole_seconds - 2.2 * seconds - 2 * _SETTLE_SECONDS)
        return early, await observe(target, offer, generator, seconds, "chat")


def _conversations(effort: Effort) -> tuple[list[Window], list[Window]]:
    tokens = round((effort.seconds + 40) * 1000 / _TURN_STEP_MS)
    offer = Offer(_TURN_STREAMS, tokens, _TURN_STEP_MS)
    folder = effort.folder / "turns"
    by_turns: dict[int, list[Window]] = {1: [], _TURNS: []}
    with drover("this tree", folder, offer, prompt_tokens=_TURN_PROMPT_TOKENS) as target:
        for _ in range(effort.rounds):
            for turns, windows in by_turns.items():
                progress(f"conversations of {turns} messages: {effort.seconds:g} s")
                windows.append(asyncio.run(measure_window(target, offer, effort.seconds, "chat", turns)))
    return by_turns[1], by_turns[_TURNS]


def _cells(window: Window) -> list[str]:
    tiers = (window.us_per_token["worker"], window.us_per_token["frontend"], window.us)
    return [*(f"{us:.1f}" for us in tiers), f"{window.received:.0f}"]
