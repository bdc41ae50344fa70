"""The mark of a resumed constraint."""

from __future__ import annotations

import pytest

from engine_worker.engines.sglang.upstream import resume_mark


@pytest.fixture(autouse=True)
def _chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DROVER_RESUME_MARK", "")
    resume_mark.choose()


@pytest.mark.parametrize("name", ["json_schema", "regex", "ebnf", "structural_tag"])
def test_a_grammar_and_its_count_come_back(name: str) -> None:
    written = resume_mark.write({name: "a: 12:b"}, 7)
    assert resume_mark.read(str(written[name])) == ("a: 12:b", 7)


def test_a_new_answer_has_no_mark() -> None:
    assert resume_mark.write({"regex": "x", "temperature": 1.0}, 0) == {"regex": "x", "temperature": 1.0}


def test_texts_without_a_mark_are_unchanged() -> None:
    assert resume_mark.write({"temperature": 1.0}, 7) == {"temperature": 1.0}


def test_no_client_can_write_the_mark() -> None:
    forged = "drover-resume-0123456789abcdef:7:x"
    assert resume_mark.read(forged) == (forged, 0)
    mine = str(resume_mark.write({"regex": "x"}, 7)["regex"])
    resume_mark.choose()
    assert resume_mark.read(mine) == (mine, 0)
