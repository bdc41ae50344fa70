"""The plots of README and docs/scale.md, from the files of results: `python -m benchmarks.plots`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.result_files import RESULTS
from benchmarks.svg import Bar, bars, line

PLOTS = Path(__file__).resolve().parents[1] / "docs" / "plots"

Results = Mapping[str, Any]


def draw(results: Path = RESULTS, plots: Path = PLOTS) -> None:
    """Write a plot for each results file that exists."""
    plots.mkdir(parents=True, exist_ok=True)
    for name, plot in _PLOTS.items():
        source = results / f"{name}.json"
        if source.exists():
            text = plot(json.loads(source.read_text(encoding="utf-8")))
            (plots / f"{name}.svg").write_text(text, encoding="utf-8")


def relay(results: Results) -> str:
    rows = []
    for name, windows in _by(results["windows"], "target").items():
        native = [window for window in windows if window["dialect"] == "chat"]
        rows.append(_bar(name, native))
    for dialect, windows in _by(results["windows"], "dialect").items():
        if dialect != "chat":
            rows.append(_bar(f"this tree, {dialect}", windows))
    streams = results["windows"][0]["streams"]
    return bars(f"CPU for a relayed token, {streams} streams", "µs", ("worker", "frontend or server"), rows)


def saturated(results: Results) -> str:
    rows = [
        Bar(
            f"{tokens} token{'' if tokens == '1' else 's'} a row",
            [max(window["received"] for window in windows) / 1000],
        )
        for tokens, windows in results["windows"].items()
    ]
    return bars("Relayed when saturated", "thousand tokens/s", (), rows)


def growth(results: Results) -> str:
    rows = [
        Bar(f"{policy}, {count} worker{'' if count == '1' else 's'}", [us])
        for policy, by_count in results["routing_us"].items()
        for count, us in by_count.items()
        if count in ("1", "256")
    ]
    return bars("Finding a worker for a request", "µs", (), rows)


def streams(results: Results) -> str:
    title = f"Frontend's memory under {results['streams']} streams"
    return line(title, "MB", [(at, megabytes) for at, megabytes in results["frontend_memory_mb"]], 300)


def _by(windows: list[Results], key: str) -> dict[str, list[Results]]:
    groups: dict[str, list[Results]] = {}
    for window in windows:
        groups.setdefault(window[key], []).append(window)
    return groups


def _bar(name: str, windows: list[Results]) -> Bar:
    tiers = [
        median(window["us_per_token"].get(tier, 0.0) for window in windows) for tier in ("worker", "frontend")
    ]
    return Bar(name, tiers, f"({median(window['delivered'] for window in windows):.0%} delivered)")


_PLOTS: Mapping[str, Callable[[Results], str]] = {
    "relay": relay,
    "saturated": saturated,
    "growth": growth,
    "streams": streams,
}

if __name__ == "__main__":
    draw()
