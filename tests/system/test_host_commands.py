"""`drover-host list` and `prune`, while a host runs and while none does."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_worker.host.store.store import Store
from tests.support.hosts import host, put_simulated
from tests.support.processes import ROOT


@pytest.fixture
def store() -> Iterator[Path]:
    """In a folder whose path is short enough for a socket. Two of its files belong to no model."""
    with tempfile.TemporaryDirectory(prefix="drover-") as folder:
        path = Path(folder) / "store"
        put_simulated(path, ["one", "two"], 100)
        opened = Store(path)
        opened.blobs.put(b"one" * 1000)
        opened.blobs.put(b"two" * 1000)
        opened.close()
        yield path


def run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine_worker.host", *arguments, "--store", str(store)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def names(listed: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[0] for line in listed.stdout.splitlines()[1:]]


def prune(store: Path) -> None:
    """Files of which a model may soon be made stay, unless another age is set."""
    kept = run(store, "prune").stdout
    assert kept.startswith("removed: 0 files without a model and older than 24 hours (--older-than)")
    assert run(store, "prune", "--older-than", "0", "--dry-run").stdout.startswith(
        "would be removed: 2 files"
    )
    assert run(store, "prune", "--older-than=0").stdout.startswith("removed: 2 files without a model, ")
    assert run(store, "prune", "--older-than=0").stdout.startswith("removed: 0 files")


def test_of_a_store_without_a_host(store: Path) -> None:
    assert names(run(store, "list")) == ["one:latest", "two:latest"]
    prune(store)
    assert names(run(store, "list")) == ["one:latest", "two:latest"]


def test_of_a_host_that_runs(store: Path, tmp_path: Path) -> None:
    with host(tmp_path / "host.log", store, "--memory-mib", "250"):
        listed = run(store, "list")
        assert (names(listed), listed.returncode) == (["one:latest", "two:latest"], 0)
        prune(store)


def test_flags_that_are_not_known(store: Path) -> None:
    refused = run(store, "list", "--dry-run")
    assert (refused.returncode, "--dry-run" in refused.stderr) == (2, True)
    for hours in ("-1", "day"):
        refused = run(store, "prune", "--older-than", hours)
        assert (refused.returncode, f"'{hours}' is no number of hours" in refused.stderr) == (2, True)
