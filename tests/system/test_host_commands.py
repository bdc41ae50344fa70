"""`drover-host list` and `prune`, while a host runs and while none does."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
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
        old = opened.blobs.path(opened.blobs.put(b"old" * 1000))
        opened.blobs.put(b"new" * 1000)
        opened.close()
        os.utime(old, (time.time() - 7200,) * 2)
        yield path


def run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine_worker.host", *arguments, "--store", str(store)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def names(listed: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split()[0] for line in listed.stdout.splitlines()[1:]]


def test_of_a_store_without_a_host(store: Path) -> None:
    assert names(run(store, "list")) == ["one:latest", "two:latest"]
    assert run(store, "prune", "--dry-run").stdout.startswith("would be removed: 2 files")
    assert run(store, "prune").stdout.startswith("removed: 2 files")
    assert run(store, "prune").stdout.startswith("removed: 0 files")
    assert names(run(store, "list")) == ["one:latest", "two:latest"]


def test_of_a_host_that_runs(store: Path, tmp_path: Path) -> None:
    """It keeps files that a pull or an upload may still be at."""
    with host(tmp_path / "host.log", store, "--memory-mib", "250"):
        listed = run(store, "list")
        assert (names(listed), listed.returncode) == (["one:latest", "two:latest"], 0)
        assert run(store, "prune", "--dry-run").stdout.startswith("would be removed: 1 files")
        assert run(store, "prune").stdout.startswith("removed: 1 files")
        assert run(store, "prune").stdout.startswith("removed: 0 files")


def test_flags_that_are_not_known(store: Path) -> None:
    refused = run(store, "list", "--dry-run")
    assert (refused.returncode, "--dry-run" in refused.stderr) == (2, True)
