"""Certificates for servers of the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

_NEW = "req -newkey rsa:2048 -nodes -addext subjectAltName=IP:127.0.0.1"


def certificate_of_localhost(folder: Path) -> tuple[Path, Path]:
    """`ca.crt`, for 127.0.0.1 and signed by itself, and its key."""
    certificate, key = folder / "ca.crt", folder / "key.pem"
    _openssl(
        *_NEW.split(),
        *["-x509", "-subj", "/CN=api", "-days", "2", "-keyout"],
        str(key),
        "-out",
        str(certificate),
    )
    return certificate, key


def certificate_without_key_identifiers(folder: Path, authority: tuple[Path, Path]) -> tuple[Path, Path]:
    """For 127.0.0.1 and signed by the authority, but not saying by which of its keys; and its own key."""
    certificate, key, request = folder / "server.crt", folder / "server.pem", folder / "server.csr"
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=none\n")
    _openssl(*_NEW.split(), *["-subj", "/CN=server", "-keyout"], str(key), "-out", str(request))
    by = ["-CA", str(authority[0]), "-CAkey", str(authority[1]), "-CAcreateserial", "-days", "2"]
    _openssl(
        *("x509", "-req", "-in", str(request), *by, "-extfile", str(extensions)), "-out", str(certificate)
    )
    return certificate, key


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
