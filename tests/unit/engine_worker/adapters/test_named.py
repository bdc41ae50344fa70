"""The operator's folder of adapters: the names of its files are those of models."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.adapters import digest_of_header
from drover.errors import InvalidRequest
from engine_worker.adapters.named import find_named


def _fill(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_files_and_folders_are_adapters_by_name(tmp_path: Path) -> None:
    _fill(tmp_path, "pirate.gguf", "sailor:v2/adapter_config.json", "sailor:v2/adapter_model.safetensors")
    _fill(tmp_path, "sailor:v2/README.md", ".hidden")
    pirate, sailor = find_named(tmp_path)

    assert (pirate.named.name, sailor.named.name) == ("pirate:latest", "sailor:v2")
    assert [file.name for file in pirate.named.adapter.files] == ["adapter.gguf"]
    assert [file.name for file in sailor.named.adapter.files] == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert sailor.named.adapter.digest == digest_of_header(sailor.named.adapter)

    (tmp_path / "copy").mkdir()
    pirate.copy_to(tmp_path / "copy")
    assert (tmp_path / "copy" / "adapter.gguf").read_bytes() == b"pirate.gguf"


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["notes.txt"], "notes.txt is no adapter"),
        (["half/adapter_config.json"], "half is no adapter"),
        (["a b.gguf"], "'a b' is not a valid model name"),
        (
            ["x.gguf", "x/adapter_config.json", "x/adapter_model.safetensors"],
            "two adapters have the name x:latest",
        ),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, names: list[str], reason: str) -> None:
    _fill(tmp_path, *names)
    with pytest.raises(InvalidRequest, match=reason):
        find_named(tmp_path)
