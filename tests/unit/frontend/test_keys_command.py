"""`drover-frontend keys`."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from frontend.access.keys_file import read_keys
from frontend.access.secret import id_of, matches
from frontend.database.url import parse_url
from frontend.keys_command import run
from tests.support.access_keys import rows_of


class Command:
    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._url = url
        self._capsys = capsys

    def __call__(self, *words: str, status: int = 0) -> str:
        """What it writes: its result, or the error."""
        command, *rest = words
        try:
            ended = run([command, "--database-url", self._url, *rest])
        except SystemExit as usage:
            ended = int(str(usage.code))
        written = self._capsys.readouterr()
        assert (ended, written.err if status == 0 else written.out) == (status, "")
        return written.err if status else written.out

    def json(self, *words: str) -> dict[str, object]:
        parsed = json.loads(self(*words, "--json"))
        assert isinstance(parsed, dict)
        return parsed


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'keys.sqlite3'}"


@pytest.fixture
def command(url: str, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(url, capsys)


def test_options_may_stand_before_the_command(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--database-url", url, "create", "--name", "alice", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert run(["--json", "--database-url", url, "list"]) == 0
    assert [each["id"] for each in json.loads(capsys.readouterr().out)] == [made["id"]]


def test_commands_that_read_make_no_database(command: Command, tmp_path: Path) -> None:
    assert command("list", "--json") == "[]\n"
    for words in (("revoke", "alice"), ("rotate", "alice")):
        assert "there are no keys in sqlite:" in command(*words, status=1)
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_made_listed_rotated_and_revoked(command: Command) -> None:
    assert "there are no keys" in command("list")
    made = command.json(
        *("create", "--name", "alice", "--models", "qwen3*, gemma3:270m", "--role", "admin"),
        *("--requests-per-minute", "60", "--tokens-per-minute", "10000", "--streams", "4"),
        *("--priority", "5", "--weight", "2.5", "--expires", "2030-01-31"),
    )
    secret = str(made.pop("secret"))
    assert id_of(secret.encode()) == made["id"]
    assert {**made, "created": ""} == {
        "id": made["id"], "name": "alice", "role": "admin", "state": "active",
        "models": ["qwen3*", "gemma3:270m"], "requests_per_minute": 60, "tokens_per_minute": 10000,
        "streams": 4, "priority": 5, "weight": 2.5, "created": "", "expires": "2030-01-31T00:00:00+00:00",
        "revoked": None,
    }  # fmt: skip
    assert json.loads(command("list", "--json")) == [made]
    rotated = command.json("rotate", "alice")
    assert rotated.pop("secret") != secret
    assert rotated == made
    assert "revoked the key 'alice'" in command("revoke", str(made["id"]))
    assert "is revoked" in command("rotate", "alice", status=1)
    assert re.search(r"alice +admin +revoked +qwen3\*,gemma3:270m +60 requests/min", command("list"))


def test_the_database_is_named(command: Command, url: str) -> None:
    database = str(parse_url(url))
    assert database in command("list")
    assert database in command("create", "--name", "bob")
    assert database in command("rotate", "bob")


def test_the_secret_is_shown_once_and_not_stored(command: Command, tmp_path: Path) -> None:
    secret = command("create", "--name", "bob").splitlines()[-1]
    random = secret.split("_", 2)[2]
    assert random not in command("list") + command("list", "--json")
    assert all(random.encode() not in file.read_bytes() for file in tmp_path.iterdir())


async def test_the_old_secret_has_a_grace_period_if_wanted(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:

    command = Command(url, capsys)
    old = str((await asyncio.to_thread(command.json, "create", "--name", "bob"))["secret"])
    new = str((await asyncio.to_thread(command.json, "rotate", "bob", "--grace", "1h"))["secret"])
    async with rows_of(url) as rows:
        stored = await rows.find("bob")
        now = stored.created_unix
        current, previous = stored.valid_digests(now)
        assert matches(new.encode(), current)
        assert matches(old.encode(), previous)
        assert len(stored.valid_digests(now + 7200)) == 1
        newest = str((await asyncio.to_thread(command.json, "rotate", "bob"))["secret"])
        (only,) = (await rows.find("bob")).valid_digests(now)
        assert matches(newest.encode(), only)


def test_an_entry_for_a_file_can_be_used(command: Command, tmp_path: Path) -> None:
    made = command.json("create", "--print", "--name", "carl", "--models", "a*", "--expires", "2030-01-31")
    assert "there are no keys" in command("list")
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([made["entry"]]), encoding="utf-8")
    (stored,) = read_keys(file).keys.values()
    assert (stored.key.name, stored.key.models, stored.key.expires_unix) == ("carl", ("a*",), 1896048000.0)
    (digest,) = stored.valid_digests(0)
    assert matches(str(made["secret"]).encode(), digest)
    assert str(made["secret"]).split("_")[2] not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["create", "--name", "alice"], 1, "a key named 'alice' already"),
        (["create", "--name", " b"], 1, "name: it must be printable"),
        (["create", "--name", ""], 1, "name: "),
        (["create", "--name", "b", "--models", "a b"], 1, "'a b' is no pattern"),
        (["create", "--name", "b", "--models", ","], 2, "names no model"),
        (["create", "--name", "b", "--streams", "0"], 1, "streams: Input should be greater than 0"),
        (["create", "--name", "b", "--priority", "101"], 1, "priority: "),
        (["create", "--name", "b", "--weight", "nan"], 1, "weight: "),
        (["create", "--name", "b", "--expires", "soon"], 2, "'soon' is neither"),
        (["create", "--name", "b", "--expires", "2020-01-01"], 2, "in the past"),
        (["create", "--name", "b", "--role", "root"], 2, "'user', 'admin', 'metrics'"),
        (["create"], 2, "--name"),
        (["revoke", "unknown-name"], 1, "the key 'unknown-name' is not there"),
        (["rotate", "alice", "--grace", "99999w"], 1, "until_unix: Input should be less than"),
        (["rotate", "alice", "--grace", "1"], 2, "'1' is not a number with s, m, h, d or w"),
    ],
)
def test_an_error_says_what_to_do(command: Command, words: list[str], status: int, problem: str) -> None:
    command("create", "--name", "alice")
    assert problem in command(*words, status=status)
    assert "alice" in command("list")


def test_a_database_that_cannot_be_used_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    text = Command("postgresql://user:hidden@127.0.0.1:1/none", capsys)("list", status=1)
    assert "database cannot be used" in text
    assert "hidden" not in text
