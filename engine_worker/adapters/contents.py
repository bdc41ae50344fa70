"""What the files of one adapter say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drover.adapters import CONFIG_FILE, GGUF_FILE, WEIGHTS_FILE
from engine_worker.adapters.gguf_header import read_gguf
from engine_worker.adapters.matrices import Pair
from engine_worker.adapters.safetensors_header import read_config, read_pairs

Format = Literal["gguf", "safetensors"]
# Begins the names of folders among those of adapters that a worker removes when it starts.
TEMPORARY = ".upload-"


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk. `folder`: has its files; `architecture`: that of its model, where the files name
    one; `pairs`: its matrices.
    """

    digest: str
    folder: Path
    format: Format
    architecture: str
    pairs: Sequence[Pair]
    size_bytes: int

    @property
    def rank(self) -> int:
        """The largest one."""
        return max(pair.rank for pair in self.pairs)

    @property
    def gguf_path(self) -> Path:
        return self.folder / GGUF_FILE


def read_adapter(digest: str, folder: Path) -> Adapter:
    """Read the headers of an adapter's files, never their weights. Raises InvalidRequest, OSError."""
    size_bytes = sum(path.stat().st_size for path in folder.iterdir())
    if (folder / GGUF_FILE).exists():
        found = read_gguf(folder / GGUF_FILE)
        return Adapter(digest, folder, "gguf", found.architecture, found.pairs, size_bytes)
    rank = read_config(folder / CONFIG_FILE)
    pairs = read_pairs(folder / WEIGHTS_FILE, rank)
    return Adapter(digest, folder, "safetensors", "", pairs, size_bytes)
