"""Certificates for servers of the tests."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certificate_of_localhost(folder: Path) -> tuple[Path, Path]:
    """`ca.crt`, for 127.0.0.1 and signed by itself, and its key."""
    certificate, key = folder / "ca.crt", folder / "key.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=api -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return certificate, key
