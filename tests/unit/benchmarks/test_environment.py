"""The environment of an older commit follows that commit's lock files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.targets.environment import environment_of


def test_an_environment_is_made_once_per_lock_file(tmp_path: Path) -> None:
    locks = tmp_path / "tree" / "requirements"
    locks.mkdir(parents=True)
    for name in ("frontend.txt", "worker.txt"):
        (locks / name).write_text("# nothing\n")
    home = tmp_path / "home"
    assert Path(environment_of(tmp_path / "tree", home)).is_file()
    marker = home / "made-before"
    marker.touch()
    environment_of(tmp_path / "tree", home)
    assert marker.exists()
    (locks / "worker.txt").write_text("# nothing else\n")
    assert Path(environment_of(tmp_path / "tree", home)).is_file()
    assert not marker.exists()
