"""Keys from a file, and from a folder as Kubernetes mounts a Secret."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from frontend.access.database_keys import DatabaseKeys
from frontend.access.fast_digest import FastDigest
from frontend.access.file_keys import FileKeys
from frontend.access.key import Key, Role
from frontend.access.keys import Keys
from frontend.access.keys_file import check_keys_file, read_keys, signature_of
from frontend.access.secret import digest_of, new_secret
from frontend.access.stored_key import KeyDocument
from tests.support.access_keys import rows_of
from tests.support.waiting import until

_PLAIN = "a-secret-of-another-system"


def _write(path: Path, *entries: dict[str, object]) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_a_file_has_plain_secrets_and_digests(tmp_path: Path) -> None:
    digest = digest_of(new_secret("k1"))
    file = _write(
        tmp_path / "keys.json",
        {"name": "alice", "secret": _PLAIN, "models": ["a*"], "expires": "2030-01-01"},
        {"name": "bob", "id": "k1", "digest": digest, "role": "admin"},
    )
    contents = read_keys(file)
    assert contents.plain == {_PLAIN: "alice"}
    assert contents.keys["alice"].key == Key("alice", "alice", models=("a*",), expires_unix=1893456000.0)
    assert contents.keys["k1"].key.role is Role.ADMIN
    assert contents.keys["k1"].valid_digests(0) == [digest]


def test_a_folder_has_a_key_in_each_file_like_a_mounted_secret(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "alice").write_text(f"{_PLAIN}\n", encoding="utf-8")
    (tmp_path / "alice").symlink_to(Path("..data") / "alice")
    (tmp_path / ".hidden").write_text("x", encoding="utf-8")
    (tmp_path / "bob.json").write_text(
        json.dumps({"name": "bob", "secret": f"{_PLAIN}-2", "role": "metrics"}), encoding="utf-8"
    )
    contents = read_keys(tmp_path)
    assert contents.plain == {_PLAIN: "alice", f"{_PLAIN}-2": "bob"}
    assert contents.keys["bob"].key.role is Role.METRICS


def test_a_name_that_is_no_id_has_one_of_its_own(tmp_path: Path) -> None:
    file = _write(tmp_path / "keys.json", {"name": "Alice and Bob", "secret": _PLAIN})
    (key_id,) = read_keys(file).keys
    assert key_id.startswith("file-")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Invalid JSON"),
        ("no JSON", "Invalid JSON"),
        ('[{"name": "a"}]', "either a secret or a digest"),
        ('[{"name": "a", "secret": "hidden"}]', "at least 16 characters"),
        ('[{"name": "a", "secret": "hidden hidden hidden"}]', "without spaces"),
        ('[{"name": "a", "digest": "hidden"}]', "no digest"),
        ('[{"name": "a", "secret": "hidden-hidden-hidden", "rolle": "admin"}]', "rolle"),
        ('[{"name": "a", "secret": "hidden-hidden-hidden", "role": "root"}]', "'user', 'admin' or 'metrics'"),
        ('[{"name": "a", "secret": "hidden-hidden-hidden", "models": ["a b"]}]', "no pattern"),
        ('[{"name": "a", "secret": "hidden-hidden-hidden", "weight": 0}]', "weight"),
        ('[{"name": "a", "secret": "hidden-hidden-1"}, {"name": "a", "secret": "hidden-hidden-2"}]', "two"),
        ('[{"name": "a", "secret": "hidden-hidden-h"}, {"name": "b", "secret": "hidden-hidden-h"}]', "one"),
    ],
)
def test_an_error_says_what_is_wrong_without_secrets(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text.replace("hidden-hidden-", "hidden-hidden-hidden-"), encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        check_keys_file(str(file))
    assert problem in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.json: No such file"):
        check_keys_file(str(tmp_path / "gone.json"))


async def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    digest = FastDigest()
    file = _write(tmp_path / "keys.json", {"name": "alice", "secret": _PLAIN})
    keys = FileKeys(file, digest, poll_seconds=0.01)
    await keys.start()
    assert set(keys.all) == {"alice"}
    _write(file, {"name": "bob", "secret": f"{_PLAIN}-2"})
    await until(lambda: set(keys.all) == {"bob"}, 30, "the change is read")
    assert keys.of_plain(digest(_PLAIN.encode())) is None
    file.write_text("broken", encoding="utf-8")
    await until(
        lambda: any(record.levelno == logging.ERROR for record in caplog.records), 5.0, "it is logged"
    )
    file.unlink()
    await until(
        lambda: sum(record.levelno == logging.ERROR for record in caplog.records) == 2, 5.0, "and this"
    )
    found = keys.of_plain(digest(f"{_PLAIN}-2".encode()))
    assert found is not None
    assert found.key.id == "bob"
    await keys.stop()


async def test_the_databases_key_goes_before_a_secret_of_its_id_in_the_file(tmp_path: Path) -> None:
    digest = FastDigest()
    file = FileKeys(_write(tmp_path / "keys.json", {"name": "alice", "id": "k1", "secret": _PLAIN}), digest)
    async with rows_of(f"sqlite:///{tmp_path / 'keys.sqlite3'}") as rows:
        keys = Keys(DatabaseKeys(rows), file, always_required=True, open_until_read=False)
        fast = digest(_PLAIN.encode())
        assert keys.of_plain(fast) is file.all["k1"]
        await rows.add("k1", KeyDocument(name="alice"))
        await rows.change("k1", revoked_unix=1.0)
        await keys.database.refresh()
        assert keys.of_plain(fast) is None


def test_a_replaced_link_is_a_change(tmp_path: Path) -> None:
    """Kubernetes swaps the link `..data` at once."""
    for name in ("one", "two"):
        (tmp_path / f"..{name}").mkdir()
        (tmp_path / f"..{name}" / "alice").write_text(_PLAIN, encoding="utf-8")
    (tmp_path / "..data").symlink_to("..one")
    (tmp_path / "alice").symlink_to(Path("..data") / "alice")
    before = signature_of(tmp_path)
    (tmp_path / "..new").symlink_to("..two")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert signature_of(tmp_path) != before
