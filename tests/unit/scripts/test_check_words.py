"""Private words are found in names and in prose, and the words that contain them are left alone."""

from __future__ import annotations

import pytest

from scripts.check_words import EXCEPTIONS, WORDS, find


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("# The client was told so.", "told"),
        ("def _told(self) -> None:", "told"),
        ("class WhatWasTold:", "told"),
        ("_NOBODY = 1", "nobody"),
        ('    log("Nobody waits")', "nobody"),
        ("last_word = 1", "last word"),
        ("class LastWord:", "last word"),
        ("# the stream's last word.", "last word"),
        ('event("worker is found no more")', "found no more"),
        ("The request goes on elsewhere.", "goes on"),
    ],
)
def test_a_private_word(line: str, word: str) -> None:
    assert [(found.line, found.word) for found in find("frontend/x.py", f"ok\n{line}\n")] == [(2, word)]


@pytest.mark.parametrize(
    "line", ["# It totalled two.", "stolden = 1", "# besides", "# leaflet", "# the last words"]
)
def test_other_words(line: str) -> None:
    assert list(find("frontend/x.py", line)) == []


def test_each_word_has_a_replacement_and_is_found() -> None:
    for word in WORDS:
        assert word in [found.word for found in find("docs/api.md", f"A {word} here.")]
        assert WORDS[word] in str(
            next(each for each in find("docs/api.md", f"a {word}") if each.word == word)
        )


def test_an_exception_is_for_one_word_below_one_path() -> None:
    (path, word), reason = next(iter(EXCEPTIONS.items()))
    assert reason
    assert list(find(f"{path}x.py", f"a {word}")) == []
    assert [found.word for found in find("frontend/x.py", f"a {word}")] == [word]
    other = next(each for each in WORDS if each != word)
    assert [found.word for found in find(f"{path}x.py", f"a {other}")] == [other]
