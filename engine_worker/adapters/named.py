"""The operator's adapters: a folder of files, each of which makes a model of its own."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drover.adapters import GGUF_FILE, SAFETENSORS_FILES, digest_of_header
from drover.errors import InvalidRequest
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb

_GGUF_SUFFIX = ".gguf"


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """`paths`: of the files that `named` lists, by the names that workers use."""

    named: pb.NamedAdapter
    paths: Mapping[str, Path]

    def copy_to(self, folder: Path) -> None:
        """Blocking. Raises OSError."""
        for name, path in self.paths.items():
            shutil.copyfile(path, folder / name)


def find_named(folder: Path) -> Sequence[NamedFiles]:
    """An adapter for each NAME.gguf, and for each folder NAME with PEFT's files; hidden files are none.
    Blocking: reads them all. Raises InvalidRequest for what is neither, OSError.
    """
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    found = [_named(entry) for entry in entries]
    names = [each.named.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise InvalidRequest(f"two adapters have the name {name}")
    return found


def _named(entry: Path) -> NamedFiles:
    text = entry.stem if entry.suffix == _GGUF_SUFFIX else entry.name
    name = ModelName.parse(text)
    if name is None:
        raise InvalidRequest(f"{text!r} is not a valid model name")
    return adapter_at(entry, name.short)


def adapter_at(entry: Path, name: str) -> NamedFiles:
    """The adapter in a file or folder. Blocking: reads it. Raises InvalidRequest, OSError."""
    if entry.suffix == _GGUF_SUFFIX:
        paths = {GGUF_FILE: entry}
    else:
        paths = {each: entry / each for each in SAFETENSORS_FILES}
    if not all(path.is_file() for path in paths.values()):
        raise InvalidRequest(
            f"{entry.name} is no adapter; one is a file NAME.gguf, or a folder NAME with "
            f"{' and '.join(SAFETENSORS_FILES)}"
        )
    header = pb.AdapterHeader(files=[_described(*each) for each in paths.items()])
    header.digest = digest_of_header(header)
    return NamedFiles(pb.NamedAdapter(name=name, adapter=header), paths)


def _described(name: str, path: Path) -> pb.AdapterFile:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return pb.AdapterFile(name=name, sha256=sha256, size_bytes=path.stat().st_size)
