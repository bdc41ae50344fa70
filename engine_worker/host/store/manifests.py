"""Manifests by name: host, namespace, model and tag are folders, as in Ollama's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import RLock

from drover.errors import InvalidRequest
from drover.names import ModelName
from engine_worker.host.store.blobs import cannot_write
from engine_worker.host.store.manifest import MAX_BYTES, Manifest

_PARTS = 4
# No tag ends so.
_NEW = "~"


class Manifests:
    """Blocks: use a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Empty folders are removed, which others may be about to read or to write in.
        self._lock = RLock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def find(self, name: ModelName) -> Manifest | None:
        """In any letter case. None if there is none, or if it cannot be read."""
        path = self._path_of(name)
        return None if path is None else _read(path)

    def written_unix_ns(self) -> Mapping[str, int]:
        """When each name got its manifest, by the names' keys."""
        written: dict[str, int] = {}
        for name, path in self._paths():
            with suppress(OSError):
                # Of names that differ in letter case only the first counts, as in `find`.
                written.setdefault(name.key, path.stat().st_mtime_ns)
        return written

    def all(self) -> Iterator[tuple[ModelName, Manifest]]:
        """Every model whose manifest can be read."""
        return ((name, manifest) for name, manifest in self.entries() if manifest is not None)

    def entries(self) -> Iterator[tuple[ModelName, Manifest | None]]:
        """Every model; without a manifest where it cannot be read."""
        for name, path in self._paths():
            manifest = _read(path)
            if manifest is not None or path.exists():
                yield name, manifest

    def put(self, name: ModelName, manifest: Manifest) -> None:
        """Replace the manifest of a name as a whole. Raises StoreFull, StoreUnavailable."""
        with self._lock:
            path = self._path_of(name) or self._folder.joinpath(*_parts(name))
            new = path.with_name(f"{path.name}{_NEW}")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with new.open("wb") as file:
                    file.write(manifest.encode())
                    file.flush()
                    os.fsync(file.fileno())
                new.replace(path)
            except OSError as error:
                new.unlink(missing_ok=True)
                raise cannot_write(f"the manifest of {name.short}", error) from error

    def remove(self, name: ModelName, digest: str = "") -> Manifest | None:
        """Returns what it was; None if there is none that can be read, or, with `digest`, another one."""
        with self._lock:
            path = self._path_of(name)
            manifest = None if path is None else _read(path)
            if path is None or manifest is None or digest not in ("", manifest.digest):
                return None
            path.unlink(missing_ok=True)
            for folder in path.parents[: _PARTS - 1]:
                if any(folder.iterdir()):
                    break
                folder.rmdir()
            return manifest

    def _path_of(self, name: ModelName) -> Path | None:
        """Of the names that differ in letter case only, which other programs may have made, the first."""
        with self._lock:
            found = [self._folder]
            for part in map(str.casefold, _parts(name)):
                entries = (path for folder in found if folder.is_dir() for path in folder.iterdir())
                found = [path for path in entries if path.name.casefold() == part]
            return min(filter(Path.is_file, found), default=None)

    def _paths(self) -> Iterator[tuple[ModelName, Path]]:
        with self._lock:
            paths = sorted(self._folder.glob("/".join("*" * _PARTS)))
        for path in paths:
            host, namespace, model, tag = path.relative_to(self._folder).parts
            name = ModelName.parse(f"{host}/{namespace}/{model}:{tag}")
            if name is not None and path.is_file():
                yield name, path


def _parts(name: ModelName) -> tuple[str, str, str, str]:
    return name.host, name.namespace, name.model, name.tag


def _read(path: Path) -> Manifest | None:
    try:
        with path.open("rb") as file:
            return Manifest.parse(file.read(MAX_BYTES + 1))
    except (OSError, InvalidRequest):
        return None
