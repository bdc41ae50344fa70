"""One stack for all tests: images are built once, and each test says how large it must be."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.deploy.stack import Stack

# Set where an engine is expected: there, a skipped test is a failed one.
_REQUIRED = "DROVER_DEPLOY_REQUIRED"


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine that can be reached."""
    if reason := _why_not():
        if os.environ.get(_REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)


def _why_not() -> str:
    if shutil.which("docker") is None:
        return "there is no docker command here"
    asked = subprocess.run(["docker", "info"], capture_output=True, text=True, timeout=30, check=False)
    return f"no Docker engine can be reached: {asked.stderr.strip()}" if asked.returncode else ""


@pytest.fixture(scope="session")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = Stack(tmp_path_factory.mktemp("stack"))
    try:
        yield running
    finally:
        running.down()
        left = running.left()
    assert not left
