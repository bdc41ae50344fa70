"""A wheel of this checkout, and an environment that has nothing but it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import ROOT

_INSTALL_SECONDS = 600.0
_RUN_SECONDS = 60.0


@dataclass(frozen=True)
class Environment:
    """Console scripts of a virtual environment, run outside the checkout."""

    scripts: Path
    folder: Path

    def run(self, *command: str, seconds: float = _RUN_SECONDS) -> subprocess.CompletedProcess[str]:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self.scripts / command[0], *command[1:]],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def install(self, requirement: str, options: Sequence[str]) -> None:
        ended = self.run("python", "-m", "pip", "install", *options, requirement, seconds=_INSTALL_SECONDS)
        assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", folder / "environment"], check=True)
    return Environment(folder / "environment" / "bin", folder)


@pytest.fixture(scope="session")
def wheel(empty: Environment) -> Path:
    """Built as pip builds it for anyone: in isolation, with the build system of pyproject.toml."""
    options = ("--no-deps", "--quiet", "--wheel-dir", "wheels")
    ended = empty.run("python", "-m", "pip", "wheel", *options, str(ROOT), seconds=_INSTALL_SECONDS)
    assert ended.returncode == 0, ended.stderr
    (built,) = (empty.folder / "wheels").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def _locked(empty: Environment) -> Sequence[str]:
    """pip's options for the locked versions. Their hashes are left out: pip would ask for the wheel's too."""
    lock = (ROOT / "requirements" / "dev.txt").read_text()
    constraints = empty.folder / "constraints.txt"
    constraints.write_text("\n".join(re.findall(r"^[\w.-]+==[^\s\\]+", lock, re.MULTILINE)))
    return ("--quiet", "--constraint", str(constraints))


@pytest.fixture(scope="session")
def without_extras(empty: Environment, wheel: Path, _locked: Sequence[str]) -> Environment:
    """Tests that need it come before those of `installed`, which adds the worker to the same environment."""
    empty.install(str(wheel), _locked)
    return empty


@pytest.fixture(scope="session")
def installed(without_extras: Environment, wheel: Path, _locked: Sequence[str]) -> Environment:
    without_extras.install(f"{wheel}[worker]", _locked)
    return without_extras
