from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.targets.drover import worktree


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.invalid")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for text in ("old", "new"):
        (folder / "file").write_text(text)
        git(folder, "add", "file")
        git(folder, "commit", "--quiet", "--message", text)
    return folder


def test_an_older_commit_is_there_and_removed_afterwards(repository: Path, tmp_path: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD~1")
    with worktree(commit, tmp_path / "tree", repository) as tree:
        assert tree is not None
        assert (tree / "file").read_text() == "old"
    assert not (tmp_path / "tree").exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_commit_that_the_repository_does_not_have_is_none(repository: Path, tmp_path: Path) -> None:
    with worktree("0" * 40, tmp_path / "tree", repository) as tree:
        assert tree is None
