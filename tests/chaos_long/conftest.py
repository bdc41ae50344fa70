"""A table of what clients saw, at the end of the run."""

from __future__ import annotations

import os
import random
import secrets

import pytest

from tests.chaos_long.tally import Tally, table

_TALLIES = pytest.StashKey[list[Tally]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLIES] = []


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    one = Tally(request.node.name.removeprefix("test_"))
    request.config.stash[_TALLIES].append(one)
    return one


@pytest.fixture
def dice(tally: Tally) -> random.Random:
    """CHAOS_SEED repeats a run's choices; what the machine makes of them differs."""
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    tally.notes.append(f"CHAOS_SEED={seed}")
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - what a failed run is repeated with
    return random.Random(seed)


@pytest.fixture
def seconds() -> float:
    """How long a scenario lasts that could go on for ever."""
    return float(os.environ.get("CHAOS_SECONDS") or 180)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    tallies = config.stash[_TALLIES]
    if not tallies:
        return
    terminalreporter.section("what clients saw")
    for line in table(tallies):
        terminalreporter.write_line(line)
    for tally in tallies:
        for note in tally.notes:
            terminalreporter.write_line(f"{tally.name}: {note}")
