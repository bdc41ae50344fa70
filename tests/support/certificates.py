"""Certificates for the tests, made with openssl."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from drover.tls.files import TlsFiles

_NEW = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
_LOCAL = "IP:127.0.0.1,DNS:localhost"


@dataclass(frozen=True)
class Authority:
    """Signs certificates: `certificate` and its `key`, in a folder where it puts what it signs."""

    certificate: Path
    key: Path

    @classmethod
    def make(cls, folder: Path, name: str = "authority") -> Authority:
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        _openssl(
            *_NEW.split(),
            *["-x509", "-subj", f"/CN={name}", "-days", "2", "-keyout", str(key), "-out", str(certificate)],
        )
        return cls(certificate, key)

    def sign(self, folder: Path, names: str = _LOCAL, *, more: str = "", days: int = 2) -> TlsFiles:
        """A certificate for `names` as openssl writes them, `tls.crt` with `tls.key` and `ca.crt` in a new
        folder; `more`: lines of its extensions; negative days: it has expired.
        """
        folder.mkdir(parents=True, exist_ok=True)
        request, extensions = folder / "request", folder / "extensions"
        files = TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
        extensions.write_text(f"subjectAltName={names}\n{more}\n")
        _openssl(
            *_NEW.split(), "-subj", f"/CN={folder.name}", "-keyout", str(files.key), "-out", str(request)
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self.key)),
            *("-CAcreateserial", "-days", str(days), "-extfile", str(extensions)),
            *("-out", str(files.certificate)),
        )
        shutil.copy(self.certificate, folder / "ca.crt")
        return files


def replace(old: TlsFiles, new: TlsFiles) -> None:
    """Put the new files where the old ones are, each at once."""
    for source, target in zip(new.paths, old.paths, strict=True):
        copy = target.with_suffix(".new")
        shutil.copy(source, copy)
        copy.replace(target)


def encrypt(key: Path) -> None:
    """Protect it with a password."""
    encrypted = key.with_suffix(".encrypted")
    _openssl("pkcs8", "-topk8", "-in", str(key), "-out", str(encrypted), "-passout", "pass:secret")
    encrypted.replace(key)


def certificate_of_localhost(folder: Path) -> tuple[Path, Path]:
    """`ca.crt`, for 127.0.0.1 and signed by itself, and its key."""
    certificate, key = folder / "ca.crt", folder / "key.pem"
    _openssl(
        *_NEW.split(),
        *["-addext", f"subjectAltName={_LOCAL}", "-x509", "-subj", "/CN=api", "-days", "2"],
        *["-keyout", str(key), "-out", str(certificate)],
    )
    return certificate, key


def certificate_without_key_identifiers(folder: Path, authority: tuple[Path, Path]) -> tuple[Path, Path]:
    """For 127.0.0.1 and signed by the authority, but not saying by which of its keys; and its own key."""
    files = Authority(*authority).sign(folder / "server", more="authorityKeyIdentifier=none")
    return files.certificate, files.key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
