"""What the clients of a scenario saw, in numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.clients import Seen

_HEADINGS = (
    "scenario",
    "sent",
    "answered",
    "refused",
    "lost with frontend",
    "left",
    "failovers",
    "longest gap",
)
_BUSY = "server busy, please try again.  maximum pending requests exceeded"


@dataclass
class Tally:
    """`lost_with_frontend`: their frontend was killed under them; `left`: clients that went away;
    `faults`: what must not be.
    """

    name: str
    sent: int = 0
    answered: int = 0
    refused: int = 0
    lost_with_frontend: int = 0
    left: int = 0
    failovers: int = 0
    longest_gap_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def saw(self, what: str, seen: Seen, expected: Seen, frontend_was_killed: bool = False) -> None:
        """One request that was sent. An answer must be the undisturbed one, whole."""
        self.sent += 1
        self.longest_gap_seconds = max(self.longest_gap_seconds, seen.longest_gap_seconds)
        if seen.is_whole and (wrong := difference(seen, expected)):
            self.faults.append(f"{what}: {wrong}")
        elif seen.is_whole:
            self.answered += 1
        elif seen.status == 503 and seen.error == _BUSY:
            self.refused += 1
        elif frontend_was_killed:
            self.lost_with_frontend += 1
        else:
            self.faults.append(
                f"{what}: status {seen.status}, {seen.pieces} pieces, {seen.error or 'no end'}"
            )

    def check(self) -> None:
        accounted = self.answered + self.refused + self.lost_with_frontend + self.left
        assert self.faults == [], "\n".join([*self.faults[:10], *self.notes])
        assert self.sent == accounted
        assert self.answered > 0

    def row(self) -> tuple[str, ...]:
        counts = (self.sent, self.answered, self.refused, self.lost_with_frontend, self.left, self.failovers)
        return (self.name, *map(str, counts), f"{self.longest_gap_seconds:.1f} s")


def difference(seen: Seen, expected: Seen) -> str:
    """Empty where the client saw what it would have seen undisturbed."""
    for name in ("thinking", "content", "calls"):
        one, other = getattr(seen, name), getattr(expected, name)
        if one != other:
            return f"{name} is {one!r:.400}, not {other!r:.400}"
    assert seen.done is not None
    assert expected.done is not None
    for name in ("prompt_eval_count", "eval_count", "done_reason"):
        if seen.done.get(name) != expected.done.get(name):
            return f"{name} is {seen.done.get(name)}, not {expected.done.get(name)}"
    return ""


def failovers(folder: Path) -> int:
    """Of all frontends that log there, also those that are gone."""
    logs = [log.read_text(errors="replace") for log in folder.glob("frontend*.log")]
    return sum(_failovers_of(line) for log in logs for line in log.splitlines())


def _failovers_of(line: str) -> int:
    if '"failovers"' not in line:
        return 0
    try:
        return int(json.loads(line)["failovers"])
    except ValueError:
        # The last line of one that was killed.
        return 0


def table(tallies: Sequence[Tally]) -> list[str]:
    rows = [_HEADINGS, *(tally.row() for tally in tallies)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEADINGS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
