"""Certificates to try TLS with."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.tls import fleet
from drover.tls.files import TlsFiles
from drover.tls.own_certificate import Role, own_certificate
from scripts import dev_certs


def _files(folder: Path) -> TlsFiles:
    return TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "certificates"
    dev_certs.make(folder, ["drover.example", "10.1.2.3"], 3)
    return folder


@pytest.mark.parametrize(
    ("folder", "role", "names"),
    [
        ("http", "server", ["drover.example", "10.1.2.3", "localhost", "127.0.0.1", "0:0:0:0:0:0:0:1"]),
        ("frontend", "client", [fleet.FRONTEND_NAME]),
        ("worker", "server", [fleet.WORKER_NAME]),
        ("worker", "client", [fleet.WORKER_NAME]),
    ],
)
def test_each_is_for_its_role(folder: str, role: Role, names: list[str], made: Path) -> None:
    assert own_certificate(_files(made / folder), role).names == names


def test_a_frontends_certificate_is_no_servers(made: Path) -> None:
    with pytest.raises(ValueError, match="unsuitable certificate purpose"):
        own_certificate(_files(made / "frontend"), "server")


def test_only_the_owner_reads_keys(made: Path) -> None:
    assert made.stat().st_mode & 0o077 == 0
    for key in made.rglob("*.key"):
        assert key.stat().st_mode & 0o077 == 0


def test_new_ones_are_of_the_same_authority(tmp_path: Path) -> None:
    dev_certs.make(tmp_path / "made", [], 3)
    before = {path: path.read_bytes() for path in (tmp_path / "made").rglob("*") if path.is_file()}
    dev_certs.make(tmp_path / "made", [], 3, for_containers=True)
    after = {path: path.read_bytes() for path in (tmp_path / "made").rglob("*") if path.is_file()}

    same = {path.name for path in before if before[path] == after[path]}
    assert before.keys() == after.keys()
    assert same == {"authority.crt", "authority.key", "ca.crt"}
    own_certificate(_files(tmp_path / "made" / "worker"), "server")
    assert (tmp_path / "made" / "worker" / "tls.key").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
