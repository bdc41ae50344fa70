"""Files by the SHA-256 of their bytes. A file is listed only when all its bytes are there and match."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from threading import Lock
from weakref import WeakSet

from drover import logs
from drover.errors import DroverError, InvalidRequest, StoreFull, StoreUnavailable
from engine_worker.host.store.manifest import is_digest

_log = logging.getLogger("drover.host")
_PARTIAL = "-partial"
_MAX_SOUND = 4096
# Read in a moment.
_QUICK_BYTES = 64 << 20
_BLOCK_BYTES = 1 << 20
# What a file of unknown size gets at once: a part of what is free, so that little is kept from others.
_GRANT_BYTES, _GRANT_PART = 64 << 20, 16
_FREE = "that the store has free; remove models, or set a larger disk budget (--disk-mib)"
# The last one: beyond the largest size of a file.
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Blobs:
    """`budget_bytes`: limit of all of them together, at each moment; 0: what the disk has. Blocks: use a
    thread.
    """

    def __init__(self, folder: Path, budget_bytes: int = 0) -> None:
        self._folder = folder
        self.budget_bytes = budget_bytes
        self._lock = Lock()
        self._begun: WeakSet[PartialBlob] = WeakSet()
        """Those that are written: they count with the size that they have room for."""
        self._sound: dict[str, tuple[int, int, int]] = {}
        """Of files that were found to be whole: inode, size and time."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in folder.glob(f"sha256-*-*{_PARTIAL}"):
            # Of an earlier process; nothing continues them.
            left.unlink()

    def path(self, digest: str) -> Path:
        """Where the file of this digest is, or would be. Raises InvalidRequest for what is no digest."""
        if not is_digest(digest):
            raise InvalidRequest(f"{digest[:100]!r} is no digest; sha256: and 64 hex digits are expected")
        return self._folder / digest.replace(":", "-")

    def size(self, digest: str) -> int | None:
        """In bytes; None if it is not there."""
        return _size_of(self.path(digest))

    def find(self, digest: str) -> int | None:
        """The size, for a client that will not upload what is there: its file counts as new for `prune`. A
        small one that is damaged is removed.
        """
        path = self.path(digest)
        size = _size_of(path)
        if size is not None and size < _QUICK_BYTES:
            self.remove_damaged([digest])
        with suppress(OSError):
            status = path.stat()
            # Sets the time of the last change of the file's description, and leaves those of its contents.
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return _size_of(path)

    def begin(self, digest: str, size_bytes: int) -> PartialBlob:
        """Continue what there is of a file. Raises StoreFull if there is no room for the rest."""
        partial = PartialBlob(self.path(digest), digest, size_bytes, self._lock, self._remember_sound)
        try:
            with self._lock:
                free_bytes = self._room_bytes()
                if partial.missing_bytes > free_bytes:
                    raise StoreFull(
                        f"{digest} needs {partial.missing_bytes} bytes more, which is more than the "
                        f"{free_bytes} bytes {_FREE}"
                    )
                self._begun.add(partial)
        except StoreFull:
            partial.close()
            raise
        return partial

    def put(self, data: bytes) -> str:
        """Keep a file that is in memory. Returns its digest. Raises StoreFull, StoreUnavailable."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        # One of another size was cut off by something else.
        if self.size(digest) != len(data):
            partial = self.begin_unknown(digest)
            try:
                partial.write(data)
                partial.commit()
            except BaseException:
                partial.discard()
                raise
        return digest

    def begin_unknown(self, digest: str) -> PartialBlob:
        """Begin a file whose size is not known: it gets room as it grows, from what others have left."""
        path, own = self.path(digest), f"-{secrets.token_hex(8)}"
        # With the lock: its file is never there without being known as one that is written.
        with self._lock:
            partial = PartialBlob(path, digest, 0, self._lock, self._remember_sound, own, self._grow)
            self._begun.add(partial)
        return partial

    def remove_damaged(self, digests: Iterable[str]) -> Sequence[str]:
        """Remove those of the files that are not what their digests say, so that they can come again. Returns
        their digests. Reads whole files, but for those that have not changed since they were found sound.
        """
        return [digest for digest in digests if self._is_damaged(digest)]

    def _is_damaged(self, digest: str) -> bool:
        """Such a file is removed."""
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                if self._sound.get(digest) == _state_of(status):
                    return False
                found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError:
            return False
        if found == digest:
            self._remember_sound(digest, status)
            return False
        with self._lock, suppress(FileNotFoundError):
            # Unless it has come again meanwhile.
            if path.stat().st_ino == status.st_ino:
                path.unlink()
                logs.event(_log, logging.ERROR, "a damaged file was removed from the store", digest=digest)
        return True

    def _remember_sound(self, digest: str, status: os.stat_result) -> None:
        if len(self._sound) >= _MAX_SOUND:
            self._sound.clear()
        self._sound[digest] = _state_of(status)

    @property
    def used_bytes(self) -> int:
        return sum(_size_of(path) or 0 for path in self._files())

    @property
    def free_bytes(self) -> int:
        """Of the disk, and of the budget."""
        disk = shutil.disk_usage(self._folder).free
        return min(disk, max(0, self.budget_bytes - self.used_bytes)) if self.budget_bytes else disk

    def unused(self, used: Iterable[str], with_partial: bool) -> Iterator[Path]:
        """Files that are not among the `used` digests. Those that are written now are used."""
        # In this order: a file that is begun later is not among them.
        files = self._files()
        kept = {self.path(digest).name for digest in used} | self._written()
        for path in files:
            name = path.name.removesuffix(_PARTIAL)
            if kept.isdisjoint((name, path.name)) and (with_partial or name == path.name):
                yield path

    def _grow(self, partial: PartialBlob, missing_bytes: int) -> None:
        """Give a file of unknown size room for so many bytes, and for some of those that follow, so that few
        of its writes look through the folder. Raises StoreFull.
        """
        with self._lock:
            free_bytes = self._room_bytes()
            if missing_bytes > free_bytes:
                raise StoreFull(
                    f"{partial.digest} needs more than the {partial.size_bytes + free_bytes} bytes {_FREE}"
                )
            partial.size_bytes += max(missing_bytes, min(_GRANT_BYTES, free_bytes // _GRANT_PART))

    def _room_bytes(self) -> int:
        """What is free, and not for the rest of files that are written. Call it with the lock."""
        # First: one that is closed meanwhile counts with more than it has, and not for nothing.
        begun = [each for each in self._begun if each.is_open]
        room_bytes = shutil.disk_usage(self._folder).free - sum(each.missing_bytes for each in begun)
        if self.budget_bytes:
            names = {each.name for each in begun}
            written = sum(_size_of(path) or 0 for path in self._files() if path.name not in names)
            reserved = sum(each.size_bytes for each in begun)
            room_bytes = min(room_bytes, self.budget_bytes - written - reserved)
        return max(0, room_bytes)

    def _written(self) -> set[str]:
        with self._lock:
            return {each.name for each in self._begun if each.is_open}

    def _files(self) -> list[Path]:
        return [path for path in self._folder.iterdir() if path.name.startswith("sha256-")]


class PartialBlob:
    """A file that is being written. What is there stays for the next attempt unless it is wrong.

    Raises StoreFull or StoreUnavailable if it cannot be opened.

    `offset`: how many bytes there are. `listing`: held while the file gets its final name. `on_listed`:
    called then, with the digest and the file's state. `own`: distinguishes the file from others of the same
    digest that are written at the same time; such a file is not continued. `grow`: for one whose size is not
    known; called with the file and how many bytes more it needs than `size_bytes`, which it increases, or
    raises StoreFull.
    """

    def __init__(
        self,
        path: Path,
        digest: str,
        size_bytes: int,
        listing: Lock,
        on_listed: Callable[[str, os.stat_result], None],
        own: str = "",
        grow: Callable[[PartialBlob, int], None] | None = None,
    ) -> None:
        self._whole = path
        self._listing, self._on_listed = listing, on_listed
        self._grow = grow
        self._path = path.with_name(f"{path.name}{own}{_PARTIAL}")
        self.digest = digest
        self.size_bytes = size_bytes
        self._hash = hashlib.sha256()
        try:
            # A buffer would fail to be written once more when the file is closed.
            self._file: FileIO = self._path.open("ab", buffering=0)
        except OSError as error:
            raise cannot_write(digest, error) from error
        self.offset = self._file.tell()
        if self.offset > size_bytes:
            self.restart()
        else:
            self._hash_what_is_there()

    @property
    def name(self) -> str:
        """Of the file while it is written."""
        return self._path.name

    @property
    def is_open(self) -> bool:
        return not self._file.closed

    @property
    def missing_bytes(self) -> int:
        """What is still to come, as far as it has room."""
        return self.size_bytes - self.offset

    def write(self, data: bytes) -> None:
        """Raises InvalidRequest if there are more bytes than the file has, StoreFull if there is no room for
        them, StoreUnavailable.
        """
        if (beyond := self.offset + len(data) - self.size_bytes) > 0:
            self._find_room(beyond)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise cannot_write(self.digest, error) from error
        self._hash.update(data)
        self.offset += len(data)

    def commit(self) -> None:
        """List the file. Raises InvalidRequest if it is not what its digest says; then it is removed."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_write(self.digest, error) from error
        finally:
            self.close()
        found = f"sha256:{self._hash.hexdigest()}"
        is_whole = self._grow is not None or self.offset == self.size_bytes
        if not is_whole or found != self.digest:
            self._path.unlink(missing_ok=True)
            raise InvalidRequest(f'digest mismatch, expected "{self.digest}", got "{found}"')
        with self._listing:
            self._path.replace(self._whole)
            self._on_listed(self.digest, self._whole.stat())

    def restart(self) -> None:
        """Begin anew: the source cannot continue."""
        self._file.truncate(0)
        self._hash, self.offset = hashlib.sha256(), 0

    def close(self) -> None:
        """Keep what there is."""
        # On a full disk it tries once more to write what could not be written.
        with suppress(OSError):
            self._file.close()

    def discard(self) -> None:
        self.close()
        self._path.unlink(missing_ok=True)

    def _find_room(self, missing_bytes: int) -> None:
        try:
            if self._grow is None:
                raise InvalidRequest(
                    f"{self.digest} has more than the {self.size_bytes} bytes that it should have"
                )
            self._grow(self, missing_bytes)
        except DroverError:
            self.discard()
            raise

    def _hash_what_is_there(self) -> None:
        with self._path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                self._hash.update(block)


def _state_of(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def cannot_write(what: str, error: OSError) -> StoreFull | StoreUnavailable:
    kind = StoreFull if error.errno in _FULL else StoreUnavailable
    return kind(f"{what} cannot be written: {error.strerror}")
