"""`drover-host list` and `drover-host prune` where there is no store, or none that can be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_worker.host import commands


@pytest.mark.parametrize("name", commands.NAMES)
def test_a_store_that_is_not_there_is_not_made(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "none"
    assert commands.run(name, ["--store", str(store)]) == 1
    assert capsys.readouterr().err == f"there is no store at {store}: name the folder of one (--store)\n"
    assert not store.exists()


def test_a_file_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert commands.run("list", ["--store", str(tmp_path / "file")]) == 1
    assert "it must be a folder that user" in capsys.readouterr().err


@pytest.mark.parametrize("name", commands.NAMES)
def test_a_command_says_how_it_is_used(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert commands.run(name, ["--help"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: drover-host {name} ")
