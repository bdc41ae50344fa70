"""Throughput with an unlimited source: tokens relayed in order, in constant memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.answers import MODEL
from benchmarks.goals import Goal
from benchmarks.parts.base import Effort, Part
from benchmarks.table import progress, table
from benchmarks.targets.base import Offer, Target
from benchmarks.targets.drover import target
from benchmarks.window import Window, observe, running_load
from tests.support.engine_client import engine_client
from tests.support.processes import Stack, frontend, worker

_STREAMS = 256
_TOKENS_A_ROW = (1, 8)
"""Eight tokens a row, as with speculative decoding, need an eighth of the rows."""
_TOKENS = 1_000_000
"""Tokens of a response: more than a window has."""
_PROMPT_TOKENS = 256
_SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Run:
    """Two consecutive windows. `most_kept`: largest number of tokens that waited at the worker."""

    windows: Sequence[Window]
    most_kept: int


def measure(effort: Effort) -> Part:
    runs: dict[int, _Run] = {}
    for tokens in _TOKENS_A_ROW:
        progress(f"saturated, {tokens} tokens a row: {2 * effort.seconds:g} s")
        with _unbounded(effort.folder / f"saturated-{tokens}", tokens) as running:
            runs[tokens] = asyncio.run(_two(running, Offer(_STREAMS, _TOKENS, 0, tokens), effort.seconds))
    best = max(runs[1].windows, key=lambda each: each.received)
    grown = max(_bytes_a_token(*run.windows) for run in runs.values())
    kept = max(run.most_kept / (_STREAMS * tokens) for tokens, run in runs.items())
    goals = [
        Goal(
            "tokens/s relayed, one a row, in order (each was checked)",
            best.received,
            "at least",
            60_000,
            note=f"two whole cores would give {_on_two_cores(best):,.0f}, by the CPU time used",
        ),
        Goal("rows of a stream that have waited at the worker", kept, "at most", 1),
        Goal(
            "growth of the frontend's memory for a relayed token",
            grown,
            "at most",
            100,
            " bytes",
            "it keeps each answer to resume it elsewhere; a buffer without a bound would show here",
        ),
    ]
    raw = {
        "windows": {str(tokens): [asdict(one) for one in run.windows] for tokens, run in runs.items()},
        "most_tokens_kept": {str(tokens): run.most_kept for tokens, run in runs.items()},
    }
    return Part("saturated", _table(runs), goals, raw)


def _on_two_cores(window: Window) -> float:
    """Tokens/s that the CPU time of tiers and client would allow if nothing else ran."""
    return 2 * window.received / (window.us * window.received / 1e6 + window.client_cores)


def _bytes_a_token(first: Window, last: Window) -> float:
    grown = last.memory_mb["frontend"] - first.memory_mb["frontend"]
    return 1e6 * grown / (last.received * last.seconds)


@contextmanager
def _unbounded(folder: Path, tokens_a_row: int) -> Iterator[Stack]:
    folder.mkdir()
    context = _TOKENS + _PROMPT_TOKENS
    flags = [
        *("--tokens-a-row", str(tokens_a_row), "--engine", "simulator", "--model", MODEL),
        *("--context-length", str(context), "--sim-kv-tokens", str(context)),
    ]
    with ExitStack() as owned:
        module = "benchmarks.targets.unbounded_worker"
        one = owned.enter_context(worker(folder / "worker.log", *flags, module=module))
        other = owned.enter_context(frontend(folder / "frontend.log", [one.address]))
        yield Stack(one, other)


async def _two(running: Stack, offer: Offer, seconds: float) -> _Run:
    loaded: Target = target("this tree", running)
    async with running_load(loaded, offer) as generator:
        await asyncio.sleep(_SETTLE_SECONDS)
        windows = [await observe(loaded, offer, generator, seconds, "chat") for _ in range(2)]
        async with engine_client(running.worker.address) as engine:
            report = await engine.load()
    return _Run(windows, report.kv_tokens_used)


def _table(runs: dict[int, _Run]) -> str:
    heads = [
        "tokens a row",
        "client\ntok/s",
        "on two cores\ntok/s",
        "worker\nµs/token",
        "frontend\nµs/token",
        "tokens/\nline",
    ]
    heads += ["tokens/\nmessage", "gap p99\nms", "worker\nMB", "frontend\nMB", "machine\ncores"]
    rows = [
        [
            f"{tokens}, {'first' if number == 0 else 'second'} window",
            f"{window.received:.0f}",
            f"{_on_two_cores(window):.0f}",
            f"{window.us_per_token['worker']:.1f}",
            f"{window.us_per_token['frontend']:.1f}",
            f"{window.tokens_per_line:.1f}",
            f"{window.tokens_per_message:.1f}",
            f"{window.gap_p99_ms:.0f}",
            f"{window.memory_mb['worker']:.0f}",
            f"{window.memory_mb['frontend']:.0f}",
            f"{window.machine_cores:.2f}",
        ]
        for tokens, run in runs.items()
        for number, window in enumerate(run.windows)
    ]
    return table(f"Saturated: {_STREAMS} streams from a source without limit", heads, rows)
