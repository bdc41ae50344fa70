"""Stacks shared by tests, since starting processes takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import Stack, stack

SIMULATOR = ("--engine", "simulator", "--model", "sim")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """llama.cpp with the real SmolLM2, under two names."""
    names = (
        "--name",
        "smol",
        "--name",
        "Qwen/Qwen2.5-1.5B-Instruct",
        "--context-length",
        "2048",
        "--slots",
        "4",
    )
    with stack(tmp_path_factory.mktemp("real"), names) as running:
        yield running


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("simulated"), SIMULATOR) as running:
        yield running
