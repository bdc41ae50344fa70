"""Certificates in files: what is wrong with them, and their reload."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drover.tls.files import Pem, TlsFiles, pem_of
from drover.tls.own_certificate import own_certificate
from drover.tls.reload import Reloaded
from tests.support.certificates import Authority, encrypt, replace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with certificates, which tests copy."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority.make(folder), Authority.make(folder, "other")
    authority.sign(folder / "good", "DNS:worker.drover")
    authority.sign(folder / "next", "DNS:worker.drover")
    authority.sign(folder / "expired", "DNS:worker.drover", days=-1)
    authority.sign(folder / "servers", "DNS:worker.drover", more="extendedKeyUsage=serverAuth")
    other.sign(folder / "stranger", "DNS:worker.drover")
    return folder


def _files(folder: Path) -> TlsFiles:
    return TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


def test_what_others_see_of_a_certificate(made: Path) -> None:
    for role in ("server", "client"):
        own = own_certificate(_files(made / "good"), role)
        assert own.names == ["worker.drover"]
        assert own.expires.endswith("GMT")


@pytest.mark.parametrize(
    ("folder", "role", "reason"),
    [
        ("expired", "server", "every client will refuse it: certificate has expired"),
        ("expired", "client", "every server will refuse it: certificate has expired"),
        ("servers", "client", "every server will refuse it: unsuitable certificate purpose"),
    ],
)
def test_what_others_would_refuse(folder: str, role: str, reason: str, made: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        own_certificate(_files(made / folder), role)  # type: ignore[arg-type]  # a literal


def test_a_certificate_of_another_authority(made: Path) -> None:
    stranger = TlsFiles(
        made / "stranger" / "tls.crt", made / "stranger" / "tls.key", made / "good" / "ca.crt"
    )
    with pytest.raises(ValueError, match="every client will refuse it: unable to get local issuer"):
        own_certificate(stranger, "server")


def _absent(files: TlsFiles) -> str:
    files.key.unlink()
    return f"{files.key} cannot be read: No such file or directory"


def _no_pem(files: TlsFiles) -> str:
    files.certificate.write_text("certificate")
    return f"{files.certificate} or {files.key} is no PEM certificate with a PEM key"


def _cut(files: TlsFiles) -> str:
    files.key.write_bytes(files.key.read_bytes()[:100])
    return f"{files.certificate} or {files.key} is no PEM certificate with a PEM key"


def _no_authority(files: TlsFiles) -> str:
    assert files.authority is not None
    files.authority.write_text("nothing")
    return f"{files.authority} has no PEM certificate of an authority"


def _other_key(files: TlsFiles) -> str:
    files.key.write_bytes((files.key.parent / "other.key").read_bytes())
    return f"{files.key} is not the key of the certificate {files.certificate}"


def _encrypted(files: TlsFiles) -> str:
    encrypt(files.key)
    return "the key is encrypted: give one without a password"


@pytest.fixture
def files(made: Path, tmp_path: Path) -> TlsFiles:
    """Of their own, to be changed."""
    found = _files(tmp_path)
    for path in found.paths:
        path.write_bytes(b"")
    replace(found, _files(made / "good"))
    (tmp_path / "other.key").write_bytes((made / "next" / "tls.key").read_bytes())
    return found


@pytest.mark.parametrize("spoil", [_absent, _no_pem, _cut, _no_authority, _other_key, _encrypted])
def test_a_bad_file_is_named_and_the_former_certificate_stays(
    spoil: Callable[[TlsFiles], str], files: TlsFiles, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    watched = Reloaded(files, "server", pem_of, "the test")
    former = watched.current
    reason = spoil(files)
    for _ in range(4):
        watched.poll()

    assert watched.current is former
    assert watched.version == 0
    (problem,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "the one that was loaded before stays in use" in problem.getMessage()
    assert reason in _fields(problem)["reason"]
    assert "None" not in _fields(problem)["reason"]

    replace(files, _files(made / "next"))
    _settle(watched)
    assert watched.version == 1
    assert watched.current == pem_of(_files(made / "next"))


def _fields(record: logging.LogRecord) -> dict[str, str]:
    fields = getattr(record, "fields", {})
    assert isinstance(fields, dict)
    return {name: str(value) for name, value in fields.items()}


def _settle(watched: Reloaded[Pem]) -> None:
    """Two polls that find the same."""
    watched.poll()
    watched.poll()


def test_a_new_certificate_that_has_expired_does_not_replace_one_that_works(
    files: TlsFiles, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Reloaded(files, "server", pem_of, "the test")
    replace(files, _files(made / "expired"))
    _settle(watched)

    assert watched.version == 0
    assert time.time() < watched.expires_unix < time.time() + 3 * 86400
    assert "certificate has expired" in _fields(caplog.records[-1])["reason"]


def test_an_expired_certificate_at_the_start_is_used_and_logged(
    made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Reloaded(_files(made / "expired"), "server", pem_of, "the test")

    assert watched.expires_unix == 0
    assert watched.current == pem_of(_files(made / "expired"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "certificate has expired" in _fields(record)["reason"]


def test_a_folder_that_kubernetes_swaps_is_noticed(made: Path, tmp_path: Path) -> None:
    """A mounted Secret: files are links below `..data`, which is a link to a folder of the revision."""
    for revision, source in (("..1", "good"), ("..2", "next")):
        (tmp_path / revision).mkdir()
        for name in ("tls.crt", "tls.key", "ca.crt"):
            (tmp_path / revision / name).write_bytes((made / source / name).read_bytes())
    data = tmp_path / "..data"
    data.symlink_to("..1")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(Path("..data") / name)
    watched = Reloaded(_files(tmp_path), "server", pem_of, "the test")

    swapped = tmp_path / "..data_tmp"
    swapped.symlink_to("..2")
    swapped.rename(data)
    _settle(watched)

    assert watched.version == 1
    assert watched.current == pem_of(_files(made / "next"))


def test_files_are_read_once_both_are_there(files: TlsFiles, made: Path) -> None:
    """A certificate and its key are written one after the other."""
    watched = Reloaded(files, "server", pem_of, "the test")
    files.certificate.write_bytes((made / "next" / "tls.crt").read_bytes())
    watched.poll()
    files.key.write_bytes((made / "next" / "tls.key").read_bytes())
    watched.poll()
    assert watched.version == 0
    watched.poll()
    assert watched.version == 1


def test_nothing_is_read_while_nothing_changes(files: TlsFiles, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched = Reloaded(files, "server", pem_of, "the test")
    for _ in range(5):
        watched.poll()

    assert [record.getMessage() for record in caplog.records] == ["certificate loaded"]
