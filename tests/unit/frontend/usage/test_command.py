"""`drover-frontend usage`."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path

import pytest

from frontend.database.database import Database
from frontend.database.url import parse_url
from frontend.usage.rows import Batch, UsageRow, UsageRows
from frontend.usage.table import csv_text, text_table
from frontend.usage.tally import Tally, UsageKey
from frontend.usage_command import run


async def _write(url: str) -> None:
    database = Database(parse_url(url), 5.0)
    keys = [UsageKey("2026-11-30", key, "m:latest", "big:7b") for key in ("k1", "k2")]
    tallies = {key: Tally(2, 1, 10, 4, 7, 1_500_000, 250_000) for key in keys}
    await UsageRows(database).add(Batch("w", 1, tallies, {"k1": "alice", "k2": "bob"}))
    await database.close()


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    url = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    asyncio.run(_write(url))
    return ["--database-url", url, "--from", "2026-11-30", "--to", "2026-11-30"]


def test_a_table_has_all_rows(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(flags) == 0

    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header[:5] == ["day", "key", "key_name", "model", "served_model"]
    of_alice = ["2026-11-30", "k1", "alice", "m:latest", "big:7b", *["2", "1", "10", "4", "7", "1.5", "0.25"]]
    assert rows[0] == of_alice
    assert [row[2] for row in rows[:-1]] == ["alice", "bob"]
    assert rows[-1] == ["total", "4", "2", "20", "8", "14", "3", "0.5"]


def test_numbers_are_aligned_and_have_no_exponent(tmp_path: Path) -> None:
    tallies = [Tally(1, 0, 0, 0, 0, 80, 0), Tally(1000, 0, 0, 0, 0, 0, 10**12)]
    rows = [UsageRow(UsageKey("2026-11-30", "k", "m", "m"), "alice", tally) for tally in tallies]
    first, second, total = text_table(rows).splitlines()[1:]
    assert first.split()[-2:] == ["0.00008", "0"]
    assert second.split()[-1] == total.split()[-1] == "1000000"
    assert len(first) == len(second) == len(total)
    assert csv_text(rows).splitlines()[1].endswith(",0.00008,0")


def test_nothing_was_used(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*flags, "--key", "carol"]) == 0
    assert capsys.readouterr().out == "no usage of that\n"


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'folder' / 'typo.sqlite3'}"
    assert run(["--database-url", url]) == 1
    assert f"there is no database {url}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_csv_of_one_key(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*flags, "--key", "bob", "--csv"]) == 0

    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["key"], row["generated_tokens"]) == ("k2", "7")


def test_a_day_that_cannot_be_read(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*flags, "--to", "today"]) == 1
    assert "to must be a day like 2026-11-30" in capsys.readouterr().err
