"""Files for contributors name what is there, and run what CI runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.processes import ROOT

_PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md", "README.md")
# A path within the repository, in backquotes.
_PATH = re.compile(r"`([a-z_]+/[\w./-]+)`")


def _ci_steps() -> list[str]:
    steps = re.search(r"\|\| set -- (.+)", (ROOT / ".ci/run").read_text())
    assert steps
    return steps[1].split()


def test_the_workflow_runs_every_step_of_ci() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    job = workflow["jobs"]["step"]
    assert job["strategy"]["matrix"]["step"] == _ci_steps()
    assert job["steps"][-1]["run"] == ".ci/run ${{ matrix.step }}"


def test_every_step_of_ci_is_a_task_of_the_makefile() -> None:
    tasks = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(_ci_steps()) <= tasks


def test_pre_commit_runs_the_ruff_of_the_lock() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    named = {package for hook in hooks for package in hook.get("additional_dependencies", ())}
    locked = re.search(r"^ruff==[\w.]+", (ROOT / "requirements/dev.txt").read_text(), re.MULTILINE)
    assert locked
    assert {package for package in named if package.startswith("ruff")} == {locked[0]}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md"])
def test_files_that_are_named_exist(page: str) -> None:
    named = [path for path in _PATH.findall((ROOT / page).read_text()) if "NAME" not in path]
    assert page == "SECURITY.md" or len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", _PAGES)
def test_pages_that_are_linked_exist(page: str) -> None:
    linked = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    local = [link for link in linked if "://" not in link]
    assert [link for link in local if not (ROOT / page).parent.joinpath(Path(link)).exists()] == []
