"""Costs of each scenario, as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.attack.host_leftovers import HostHeld
from tests.attack.leftovers import Held
from tests.attack.prober import Latencies

_COLUMNS = (
    "scenario", "s", "probes", "wall p50", "p99 ms", "own p50", "p95", "p99", "max ms", "RSS MB", "peak",
    "after", "fds", "tasks", "polite", "host MB", "peak", "after", "fds",
)  # fmt: skip
_HOST_COLUMNS = 4


@dataclass
class HostCosts:
    """Of a worker host; `peak_mb`: of its memory."""

    before: HostHeld | None = None
    after: HostHeld | None = None
    peak_mb: float = 0.0

    def cells(self) -> tuple[str, ...]:
        if self.before is None or self.after is None:
            return ("",) * _HOST_COLUMNS
        before, after = self.before, self.after
        return (
            f"{before.rss_mb:.0f}",
            f"{self.peak_mb:.0f}",
            f"{after.rss_mb:.0f}",
            f"{before.descriptors}/{after.descriptors}",
        )


@dataclass
class Figures:
    """`peak_mb`: of the frontend's memory; `polite`: answers of those who behaved; `host`: where there is
    one.
    """

    name: str
    seconds: float = 0.0
    latencies: Latencies | None = None
    before: Held | None = None
    after: Held | None = None
    peak_mb: float = 0.0
    polite: int = 0
    host: HostCosts = field(default_factory=HostCosts)
    notes: list[str] = field(default_factory=list)

    def row(self) -> tuple[str, ...]:
        if self.latencies is None or self.before is None or self.after is None:
            return (self.name, *[""] * (len(_COLUMNS) - 1))
        seen, before, after = self.latencies, self.before, self.after
        return (
            self.name,
            f"{self.seconds:.0f}",
            str(seen.count),
            *(
                f"{each:.0f}"
                for each in (
                    seen.wall_p50,
                    seen.wall_p99,
                    seen.own_p50,
                    seen.own_p95,
                    seen.own_p99,
                    seen.own_max,
                )
            ),
            f"{before.rss_mb:.0f}",
            f"{self.peak_mb:.0f}",
            f"{after.rss_mb:.0f}",
            f"{before.descriptors}/{after.descriptors}",
            f"{before.tasks}/{after.tasks}",
            str(self.polite),
            *self.host.cells(),
        )


def table(figures: list[Figures]) -> list[str]:
    rows = [_COLUMNS, *(each.row() for each in figures)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return [*lines, *(f"{each.name}: {note}" for each in figures for note in each.notes)]
