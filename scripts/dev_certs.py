"""`python -m scripts.dev_certs FOLDER`: an authority and certificates of both tiers, to try TLS.

FOLDER gets `authority.crt` with its key, and a folder each for `http` (what clients see), `frontend` and
`worker` (what the tiers show each other), with the files `tls.crt`, `tls.key` and `ca.crt`, as in Secrets of
Kubernetes. Called again, it signs new ones with the same authority. Needs the standard library and openssl.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

_NEW_KEY = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_LOCAL = ("localhost", "127.0.0.1", "::1")
_AUTHORITY_DAYS = 3650
# Of drover/tls/fleet.py, whose imports are not there where the stack is started.
FRONTEND_NAME, WORKER_NAME = "frontend.drover", "worker.drover"
_PRIVATE, _READABLE = 0o600, 0o644


class Refused(Exception):
    """The certificates cannot be made: the text has the reason."""


def make(folder: Path, names: Sequence[str], days: int, *, for_containers: bool = False) -> None:
    """`names`: of the HTTPS server, as clients name it. Keys are readable by their owner only; with
    `for_containers` by all, as the containers' user is another one, in a folder that only its owner enters.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    mode = _READABLE if for_containers else _PRIVATE
    if not (folder / "authority.key").exists():
        _make_authority(folder)
    _sign(folder, "http", [*names, *_LOCAL], "serverAuth", days, mode)
    _sign(folder, "frontend", [FRONTEND_NAME], "clientAuth", days, mode)
    # A probe in the worker's container shows the worker's certificate as a client.
    _sign(folder, "worker", [WORKER_NAME], "serverAuth,clientAuth", days, mode)


def _make_authority(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as made:
        key, certificate = Path(made) / "key", Path(made) / "certificate"
        _openssl(
            *(*_NEW_KEY, "-x509", "-subj", "/CN=Drover development authority"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-days", str(_AUTHORITY_DAYS)),
            *("-keyout", str(key), "-out", str(certificate)),
        )
        _put(certificate, folder / "authority.crt", _READABLE)
        _put(key, folder / "authority.key", _PRIVATE)


def _sign(folder: Path, role: str, names: Sequence[str], usage: str, days: int, mode: int) -> None:
    target = folder / role
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        key, request, certificate = (Path(made) / name for name in ("key", "request", "certificate"))
        extensions = Path(made) / "extensions"
        extensions.write_text(
            f"subjectAltName={','.join(_alternative_name(name) for name in names)}\n"
            f"basicConstraints=critical,CA:FALSE\nextendedKeyUsage={usage}\n"
        )
        _openssl(*_NEW_KEY, "-subj", f"/CN=drover {role}", "-keyout", str(key), "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-days", str(days), "-extfile", str(extensions)),
            *("-CA", str(folder / "authority.crt"), "-CAkey", str(folder / "authority.key")),
            *("-CAserial", str(Path(made) / "serial"), "-CAcreateserial", "-out", str(certificate)),
        )
        authority = Path(made) / "authority"
        authority.write_bytes((folder / "authority.crt").read_bytes())
        _put(authority, target / "ca.crt", _READABLE)
        _put(key, target / "tls.key", mode)
        _put(certificate, target / "tls.crt", _READABLE)


def _put(made: Path, target: Path, mode: int) -> None:
    """At once, so that a process that reads certificates again sees whole files."""
    made.chmod(mode)
    made.replace(target)


def _alternative_name(name: str) -> str:
    try:
        return f"IP:{ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def _openssl(*arguments: str) -> None:
    try:
        done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refused(f"openssl cannot be run: {error}") from error
    if done.returncode:
        raise Refused(f"openssl {arguments[0]} failed:\n{done.stderr.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.dev_certs", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to put them")
    parser.add_argument("--name", action="append", default=[], help="a host or address of the HTTPS server")
    parser.add_argument("--days", type=int, default=30, help="how long they are valid")
    parser.add_argument(
        "--for-containers", action="store_true", help="let the containers' user read the keys"
    )
    wanted = parser.parse_args()
    try:
        make(wanted.folder, wanted.name, wanted.days, for_containers=wanted.for_containers)
    except (Refused, OSError) as reason:
        print(f"dev_certs: {reason}", file=sys.stderr)
        return 1
    print(
        f"certificates for {wanted.days} days: {wanted.folder}; clients trust {wanted.folder}/authority.crt"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
