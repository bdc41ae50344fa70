"""The store: the models of this machine, by name, and their files."""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson

from drover.adapters import GGUF_FILE
from drover.errors import InvalidRequest, ModelNotFound, StoreUnavailable
from drover.names import ModelName
from engine_worker.host.store.blobs import Blobs
from engine_worker.host.store.manifest import ADAPTER, CONFIG, FILE, MODEL, Layer, Manifest
from engine_worker.host.store.manifests import Manifests

# The files of a model that is made of uploads may come one after the other for so long.
UPLOAD_SECONDS = 24 * 3600
# Ends the names of views of adapters.
_ADAPTER = "-adapter"


class StoreInUse(BlockingIOError):
    """Another process has it."""


class Store:
    """One process at a time. Blocks: use a thread. `budget_bytes`: for the files; 0: what the disk has.

    Raises StoreInUse if another process has it, StoreUnavailable if the folder cannot be made or written.
    """

    def __init__(self, folder: Path, budget_bytes: int = 0) -> None:
        self._folder, self._views = folder, folder / "views"
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"the store {folder} (--store) cannot be used: {error.strerror}; it must be a folder that "
                f"user {os.getuid()} can write"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreInUse(
                f"another host uses the store {folder}: stop that one, or name another folder (--store)"
            ) from None
        self.blobs = Blobs(folder / "blobs", budget_bytes)
        self._manifests = Manifests(folder / "manifests")
        self._held: dict[int, set[str]] = {}
        listed = [manifest for _, manifest in self._manifests.all()]
        for manifest in listed:
            self._is_whole(manifest)
        self._remove_views(listed)

    @property
    def id(self) -> str:
        """Of the store, as long as it lives: 32 hex digits."""
        path = self._folder / "id"
        if not path.is_file():
            path.write_text(secrets.token_hex(16))
        return path.read_text().strip()

    def close(self) -> None:
        os.close(self._lock)

    def models(self) -> Sequence[tuple[ModelName, Manifest]]:
        """Those whose files are all there, with the sizes that their manifests say."""
        return [(name, manifest) for name, manifest in self._manifests.all() if self._is_whole(manifest)]

    def check_files(self, manifest: Manifest) -> None:
        """Raises ValueError if a file is missing or of another size: something else has changed the store."""
        if (lacking := self._lacking(manifest)) is not None:
            found = self.blobs.size(lacking.digest)
            raise ValueError(
                f"its file {lacking.digest} has {found or 0} of {lacking.size_bytes} bytes in the store; "
                "pull or create the model again"
            )

    def modified_unix_ns(self) -> Mapping[str, int]:
        """When each model was made, copied or pulled last, which its files may be older than, by the names'
        keys.
        """
        return self._manifests.written_unix_ns()

    def find(self, name: ModelName) -> Manifest:
        """Raises ModelNotFound."""
        manifest = self._manifests.find(name)
        if manifest is None or self._lacking(manifest) is not None:
            raise ModelNotFound(f"model '{name.short}' not found")
        return manifest

    def put(self, name: ModelName, manifest: Manifest) -> None:
        """List a model. Raises InvalidRequest if a file of it is missing, StoreUnavailable."""
        manifest.check()
        if (lacking := self._lacking(manifest)) is not None:
            raise InvalidRequest(f"the store does not have {lacking.digest} with {lacking.size_bytes} bytes")
        self._manifests.put(name, manifest)

    @contextmanager
    def holding(self, digests: set[str]) -> Iterator[None]:
        """Meanwhile `delete` and `prune` leave these files, which no model has yet. The set may grow."""
        self._held[id(digests)] = digests
        try:
            yield
        finally:
            del self._held[id(digests)]

    def put_config(self, layers: Sequence[Layer]) -> Layer:
        """The configuration that a manifest in Ollama's form has, for a model that came without one."""
        model_format = "gguf" if any(layer.media_type == MODEL for layer in layers) else "safetensors"
        data = orjson.dumps({"model_format": model_format, "os": "linux"})
        return Layer(CONFIG, self.blobs.put(data), len(data))

    def delete(self, name: ModelName, digest: str = "") -> int:
        """Remove a model, and its files as far as no other model has them. Returns how many bytes that freed.

        None are removed while the files of another model are not known. `digest`: of the manifest, if another
        one under the name is to stay. Raises ModelNotFound.
        """
        manifest = self._manifests.remove(name, digest)
        if manifest is None:
            which = f" with the manifest {digest}" if digest else ""
            raise ModelNotFound(f"model '{name.short}'{which} not found")
        held = self._held_now()
        try:
            listed = self._listed()
        except StoreUnavailable:
            # `prune` says why.
            return 0
        self._remove_views(listed)
        own = {self.blobs.path(layer.digest) for layer in manifest.files}
        unused = self.blobs.unused(_used(listed) | held, with_partial=False)
        return _remove([path for path in unused if path in own])

    def prune(self, dry_run: bool = False, older_than_seconds: float = 0.0) -> tuple[int, int]:
        """Remove the files that no model has, unfinished ones too. Returns their number and their bytes.

        Raises StoreUnavailable if the files of a model are not known.

        `older_than_seconds`: those stay that were written or asked for later, since a model may soon be made
        of them; those that are written now stay in any case.
        """
        newest = time.time() - older_than_seconds if older_than_seconds else math.inf
        unused: dict[Path, int] = {}
        held = self._held_now()
        for path in self.blobs.unused(held | _used(self._listed()), with_partial=True):
            # What is written may end meanwhile.
            with suppress(FileNotFoundError):
                status = path.stat()
                # The kernel's own time: `Blobs.find` sets it too, and not that of the contents.
                if max(status.st_mtime, status.st_ctime) <= newest:
                    unused[path] = status.st_size
        if not dry_run:
            _remove(unused)
        return len(unused), sum(unused.values())

    def folder_of(self, manifest: Manifest) -> Path:
        """A folder with the manifest's named files, for engines that want one: links into the store."""
        named = {layer.title: self.blobs.path(layer.digest) for layer in manifest.of_type(FILE)}
        folder = self._views / _view_name(manifest)
        for title, path in named.items():
            _link(folder, title, path)
        return folder

    def adapter_folder_of(self, manifest: Manifest) -> Path:
        """A folder with the files of the manifest's adapter, by their titles; one without a title is GGUF."""
        folder = self._views / f"{_view_name(manifest)}{_ADAPTER}"
        for layer in manifest.of_type(ADAPTER):
            _link(folder, layer.title or GGUF_FILE, self.blobs.path(layer.digest))
        return folder

    def link(self, digest: str, name: str) -> Path:
        """A file of the store under a name of its own, for programs that look at the ending."""
        blob = self.blobs.path(digest)
        folder = self._views / blob.name
        return _link(folder, name, blob)

    def _listed(self) -> Sequence[Manifest]:
        """Also those of which files are missing. Raises StoreUnavailable if one cannot be read: its files
        would look as if no model had them.
        """
        entries = list(self._manifests.entries())
        unread = [name.short for name, manifest in entries if manifest is None]
        if unread:
            raise StoreUnavailable(
                f"no files are removed: the manifest of {unread[0]} cannot be read, so its files are not "
                "known. Repair the store, or remove that manifest"
            )
        return [manifest for _, manifest in entries if manifest is not None]

    @contextmanager
    def viewing(self, manifest: Manifest) -> Iterator[None]:
        """If it fails meanwhile, remove the links that were made for the manifest's files."""
        names = [_view_name(manifest), f"{_view_name(manifest)}{_ADAPTER}"]
        names += [self.blobs.path(layer.digest).name for layer in manifest.files]
        new = [folder for name in names if not (folder := self._views / name).exists()]
        try:
            yield
        except BaseException:
            for folder in new:
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def _remove_views(self, listed: Sequence[Manifest]) -> None:
        """Those of models that are gone."""
        kept = {_view_name(manifest) for manifest in listed}
        kept |= {f"{name}{_ADAPTER}" for name in kept}
        kept |= {self.blobs.path(digest).name for digest in self._held_now() | _used(listed)}
        folders = list(self._views.iterdir()) if self._views.is_dir() else []
        for folder in folders:
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _is_whole(self, manifest: Manifest) -> bool:
        """If it is not, a file of another size is removed if it is damaged, so that it can come again."""
        if (lacking := self._lacking(manifest)) is not None:
            self.blobs.remove_damaged([lacking.digest])
        return lacking is None

    def _lacking(self, manifest: Manifest) -> Layer | None:
        """The first of its files that is not there with its size."""
        sized = ((layer, self.blobs.size(layer.digest)) for layer in manifest.files)
        return next((layer for layer, size in sized if size != layer.size_bytes), None)

    def _held_now(self) -> set[str]:
        """Ask before `_listed`: a model that is listed meanwhile is held until then."""
        return set[str]().union(*list(self._held.values()))


def _used(listed: Iterable[Manifest]) -> set[str]:
    return {layer.digest for manifest in listed for layer in manifest.files}


def _view_name(manifest: Manifest) -> str:
    return manifest.digest.replace(":", "-")


def _link(folder: Path, name: str, blob: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / name
    if not link.is_symlink():
        link.symlink_to(os.path.relpath(blob, folder))
    return link


def _remove(paths: Iterable[Path]) -> int:
    freed = 0
    for path in paths:
        with suppress(FileNotFoundError):
            size_bytes = path.stat().st_size
            path.unlink()
            freed += size_bytes
    return freed
