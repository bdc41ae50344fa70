"""CPU per relayed token: this tree, an older commit and SGLang's own Ollama layer, in turn, by one client.

Then the same of this tree in the other APIs. Ratios within one run count: all share the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from statistics import median

from benchmarks.client.dialects import Name
from benchmarks.goals import Goal
from benchmarks.parts.base import Effort, Part
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer, Target
from benchmarks.targets.drover import drover, worktree
from benchmarks.targets.environment import environment_of
from benchmarks.targets.sglang_layer import NAMES, sglang_layer, sglang_versions
from benchmarks.window import Window, measure_window
from tests.support.processes import ROOT, SGLANG_PYTHON

THIS = "this tree"
COMMIT = "ef8499c"
SGLANG = NAMES["timeout"]
_STREAMS = 256
_STEP_MS = 20
_SPARE_SECONDS = 40
"""How much longer a response lasts than its window: start, settling, and windows that end late."""
_OTHER_DIALECTS: Sequence[Name] = ("openai", "anthropic")

Windows = Mapping[str, Sequence[Window]]


def offer(seconds: float, streams: int = _STREAMS) -> Offer:
    return Offer(streams, round((seconds + _SPARE_SECONDS) * 1000 / _STEP_MS), _STEP_MS)


def measure(effort: Effort) -> Part:
    asked = offer(effort.seconds)
    with _targets(effort, asked) as targets:
        rounds = [
            asyncio.run(_window(target, asked, effort.seconds, "chat"))
            for _ in range(effort.rounds)
            for target in targets
        ]
        other = [
            asyncio.run(_window(targets[0], asked, effort.seconds, dialect))
            for _ in range(effort.rounds)
            for dialect in ("chat", *_OTHER_DIALECTS)
        ]
    by_target = {target.name: [each for each in rounds if each.target == target.name] for target in targets}
    by_dialect: Mapping[Name, Sequence[Window]] = {
        dialect: [each for each in other if each.dialect == dialect] for dialect in ("chat", *_OTHER_DIALECTS)
    }
    rows = {**by_target, **{f"{THIS}, {name}": windows for name, windows in by_dialect.items()}}
    raw = {
        "sglang_environment": sglang_versions(),
        "windows": [asdict(window) for window in (*rounds, *other)],
    }
    return Part("relay", _table(rows), [*_goals(by_target), *_dialect_goals(by_dialect)], raw)


@contextmanager
def _targets(effort: Effort, asked: Offer) -> Iterator[Sequence[Target]]:
    """All targets run all the time; idle ones cost next to nothing."""
    folder = effort.folder
    with ExitStack() as owned:
        targets: list[Target | None] = [owned.enter_context(drover(THIS, folder / "this", asked))]
        tree = owned.enter_context(worktree(COMMIT, folder / "tree"))
        if tree is not None:
            python = environment_of(tree, ROOT / f".venv-bench-{COMMIT}")
            older = drover(COMMIT, folder / "commit", asked, tree, python=python)
            targets.append(owned.enter_context(older))
        else:
            progress(f"left out: this repository has no commit {COMMIT}")
        layers = [owned.enter_context(sglang_layer(folder, asked, wait)) for wait in NAMES]
        if not all(layers):
            progress(f"left out: SGLang's layer, since {SGLANG_PYTHON} does not name its environment")
        yield [target for target in (*targets, *layers) if target is not None]


async def _window(target: Target, asked: Offer, seconds: float, dialect: Name) -> Window:
    progress(f"{asked.streams} streams, {dialect}, {target.name}: {seconds:g} s")
    return await measure_window(target, asked, seconds, dialect)


def ratio(ours: Sequence[Window], theirs: Sequence[Window]) -> float | None:
    """Ratio of CPU per token: the median over pairs of consecutive windows."""
    pairs = list(zip(ours, theirs, strict=False))
    return median(one.us / other.us for one, other in pairs) if pairs else None


def _goals(by_target: Windows) -> list[Goal]:
    ours = by_target[THIS]
    return [
        _ratio_goal(ours, by_target.get(SGLANG, ()), SGLANG, 0.4),
        _ratio_goal(ours, by_target.get(COMMIT, ()), f"commit {COMMIT}", 0.25),
        Goal(
            "delivered share of the offered tokens",
            median(each.delivered or 0.0 for each in ours),
            "at least",
            0.98,
        ),
        Goal(
            "tokens of a message that carries lines",
            median(each.tokens_per_message for each in ours),
            "at most",
            1.1,
        ),
    ]


def _ratio_goal(ours: Sequence[Window], theirs: Sequence[Window], name: str, limit: float) -> Goal:
    note = "" if theirs else "not there, see above"
    return Goal(f"CPU per token, both tiers / {name}", ratio(ours, theirs), "at most", limit, note=note)


def _dialect_goals(by_dialect: Mapping[Name, Sequence[Window]]) -> list[Goal]:
    native = by_dialect["chat"]
    return [
        Goal(f"CPU per token, {dialect} / native", ratio(by_dialect[dialect], native), "at most", 1.3)
        for dialect in _OTHER_DIALECTS
    ]


def _table(rows: Windows) -> str:
    heads = [
        "",
        "worker\nµs/token",
        "frontend\nµs/token",
        "both\nµs/token",
        "each\nround",
        "both\nµs/message",
    ]
    heads += [
        "client\ntok/s",
        "delivered",
        "tokens/\nmessage",
        "gap p50\nms",
        "gap p99\nms",
        "machine\ncores",
    ]
    title = f"CPU per relayed token, {_STREAMS} streams × {1000 / _STEP_MS:g} tokens/s, medians"
    note = "  a server that falls behind joins tokens: each is cheaper then, and a message costs more"
    return table(title, heads, [_row(name, windows) for name, windows in rows.items()]) + f"\n{note}"


def _row(name: str, windows: Sequence[Window]) -> list[str]:
    def middle(tier: str) -> str:
        values = [each.us_per_token[tier] for each in windows if tier in each.us_per_token]
        return f"{median(values):.1f}" if values else "-"

    return [
        name,
        middle("worker"),
        middle("frontend"),
        f"{median(each.us for each in windows):.1f}",
        " ".join(f"{each.us:.0f}" for each in windows),
        f"{median(each.us * each.tokens_per_message for each in windows):.1f}",
        f"{median(each.received for each in windows):.0f}",
        f"{median(each.delivered or 0.0 for each in windows):.1%}",
        f"{median(each.tokens_per_message for each in windows):.2f}",
        f"{median(each.gap_p50_ms for each in windows):.1f}",
        f"{median(each.gap_p99_ms for each in windows):.1f}",
        f"{median(each.machine_cores for each in windows):.2f}",
    ]
