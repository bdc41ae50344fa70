"""Certificates and keys as PEM files, and what is wrong with them in words."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

FileState = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """One side of a connection: its `certificate` with the intermediate ones, the `key` of that, and the
    `authority` that signs the other side's certificates, None where the other side shows none.
    """

    certificate: Path
    key: Path
    authority: Path | None = None

    @property
    def paths(self) -> Sequence[Path]:
        return [path for path in (self.certificate, self.key, self.authority) if path is not None]

    def state(self) -> FileState:
        """Changes when a file is written or replaced, or a symbolic link on the way to it: Kubernetes swaps
        the link of a whole folder.
        """
        return tuple(_state(path) for path in self.paths)


@dataclass(frozen=True, slots=True)
class Pem:
    """The contents of TlsFiles."""

    certificate: bytes
    key: bytes
    authority: bytes


def pem_of(files: TlsFiles) -> Pem:
    """Raises ValueError for a file that cannot be read."""
    authority = _read(files.authority) if files.authority is not None else b""
    return Pem(_read(files.certificate), _read(files.key), authority)


def load_chain(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Raises ValueError, which names the file."""
    pem_of(files)  # `ssl` does not name a file that cannot be read
    try:
        context.load_cert_chain(files.certificate, files.key, _no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{files.key} is not the key of the certificate {files.certificate}") from error
        raise ValueError(
            f"{files.certificate} or {files.key} is no PEM certificate with a PEM key"
        ) from error


def load_authority(context: ssl.SSLContext, path: Path) -> None:
    """Trust the certificates in `path`. Raises ValueError, which names the file."""
    try:
        context.load_verify_locations(cadata=_read(path).decode("ascii", errors="replace"))
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"{path} has no PEM certificate of an authority: {error}") from error


def _no_password() -> str:
    """Without this OpenSSL would ask on the terminal."""
    raise ValueError("the key is encrypted: give one without a password, in a file that only its owner reads")


def _state(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
