"""Prints the table of each scenario's costs at the end of the run."""

from __future__ import annotations

import resource

import pytest

from tests.attack.figures import Figures, table

_FIGURES = pytest.StashKey[list[Figures]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = []
    # Thousands of connections are made here.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    one = Figures(request.node.name.removeprefix("test_"))
    request.config.stash[_FIGURES].append(one)
    return one


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    if figures := config.stash[_FIGURES]:
        terminalreporter.section("under attack")
        for line in table(figures):
            terminalreporter.write_line(line)
