"""The package's metadata against the files that repeat or lock parts of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from drover import __version__
from tests.support.processes import ROOT

_PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_EXTRAS: dict[str, list[str]] = _PROJECT["optional-dependencies"]
_REQUIREMENTS = ROOT / "requirements"


def _normal(lines: list[str]) -> set[str]:
    requirements = [Requirement(line) for line in lines]
    return {f"{canonicalize_name(found.name)}{found.specifier}" for found in requirements}


def _inputs(name: str) -> set[str]:
    """The packages that a lock file's input names itself, without those of other files."""
    lines = (_REQUIREMENTS / f"{name}.in").read_text().splitlines()
    return _normal([line for line in lines if line and not line.startswith(("#", "-"))])


def test_the_dependencies_are_those_of_the_frontends_lock() -> None:
    assert _normal(_PROJECT["dependencies"]) == _inputs("frontend")


@pytest.mark.parametrize("extra", ["worker", "sglang"])
def test_an_extra_is_what_its_lock_has_besides_the_dependencies(extra: str) -> None:
    assert _normal(_EXTRAS[extra]) == _inputs(extra) - _inputs("frontend")


def test_the_extra_of_development_is_that_of_its_lock() -> None:
    assert _normal(_EXTRAS["dev"]) == _inputs("dev") - _inputs("frontend") - _inputs("worker")


def test_no_other_extra_exists() -> None:
    assert set(_EXTRAS) == {"worker", "sglang", "dev"}


@pytest.mark.parametrize("name", ["frontend", "worker", "sglang", "dev"])
def test_a_lock_satisfies_its_input(name: str) -> None:
    pinned = re.findall(r"^([\w.-]+)==(\S+)", (_REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE)
    versions = {canonicalize_name(package): version for package, version in pinned}
    for line in _inputs(name):
        wanted = Requirement(line)
        assert wanted.specifier.contains(versions[canonicalize_name(wanted.name)]), line


def test_the_charts_version_is_the_packages() -> None:
    chart = yaml.safe_load((ROOT / "deploy/k8s/chart/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_the_docs_build_images_of_the_version() -> None:
    page = (ROOT / "docs/deploy.md").read_text()
    assert f"--build-arg VERSION={__version__} -t drover-frontend:{__version__} ." in page


def test_the_changelog_has_the_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", __version__]


@pytest.mark.parametrize("package", ["drover", "engine_worker", "frontend"])
def test_a_package_says_that_it_is_typed(package: str) -> None:
    assert Path(ROOT / package / "py.typed").is_file()
