"""The table of changes since 0.33: each change has its row in ollama-contract.md, and none is out of date."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.contract.differing import rows as differing_rows
from tests.fakes.contract_changes import CHANGES, Change, answer_of_now
from tests.fakes.transcripts import RECORDED, SCRIPTED, rows

_PAGE = Path(__file__).parents[2] / "docs" / "reference" / "ollama-contract.md"
_REWRITING = [change for change in CHANGES if change.rewrite is not None]


def _recorded() -> list[tuple[str, str, str]]:
    """Path, request body and answer of every recorded exchange."""
    found = [
        (row["request"]["path"], _text(row["request"].get("body", "")), row["response"]["body"])
        for row in (*rows(RECORDED), *rows(SCRIPTED))
    ]
    found += [
        (row.request["path"], _text(row.request.get("body", "")), row.answer["body"])
        for row in differing_rows()
        if not row.is_of_the_cli
    ]
    return found


def _text(body: object) -> str:
    return body if isinstance(body, str) else json.dumps(body)


def test_the_page_shows_the_table() -> None:
    section = _PAGE.read_text().partition("## Changes since 0.33\n")[2].partition("\n## ")[0]
    shown = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert shown == [change.row() for change in CHANGES]


def test_each_change_has_a_source() -> None:
    assert all(change.source and change.since for change in CHANGES)


@pytest.mark.parametrize("change", _REWRITING, ids=lambda change: change.what)
def test_a_rewrite_concerns_a_recorded_answer(change: Change) -> None:
    assert change.rewrite is not None
    changed = [
        answer for path, request, answer in _recorded() if change.rewrite(path, request, answer) != answer
    ]
    assert changed


def test_a_rewritten_answer_is_not_rewritten_again() -> None:
    for path, request, answer in _recorded():
        now = answer_of_now(path, request, answer)
        assert answer_of_now(path, request, now) == now
