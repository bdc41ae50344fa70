"""Thinking apart from content, with upstream's white space."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_worker.output.base import Content, Piece, PlainText, Thinking
from engine_worker.output.reasoning import ThinkingFirst
from engine_worker.output.tagged_reasoning import TaggedThinking


class Tags:
    """A parser for one-character tags: `<` opens thinking and `>` closes it."""

    holds = False

    def __init__(self) -> None:
        self._inside = False

    def feed(self, text: str) -> tuple[str, str]:
        thinking = content = ""
        for character in text:
            if character in "<>":
                self._inside = character == "<"
            elif self._inside:
                thinking += character
            else:
                content += character
        return thinking, content

    def finish(self) -> tuple[str, str]:
        return "", ""


def said(*texts: str, shown: bool = True) -> list[list[Piece]]:
    parser = ThinkingFirst(Tags(), PlainText(), shown)
    return [list(parser.feed(text)) for text in texts] + [list(parser.finish())]


@pytest.mark.parametrize(
    ("texts", "pieces"),
    [
        (
            ["<", "hm", ".\n", ">", "\n\n", "Yes", " . "],
            [[], "hm", ".\n", [], [], Content("Yes"), Content(" . ")],
        ),
        (["< ", "hm"], [[], "hm"]),
        (["  ", "x", "  "], [[], Content("  x"), Content("  ")]),
        ([" \n", "<a>b"], [[], ["a", Content("b")]]),
        (["<a> \n ", "b"], ["a", Content("b")]),
        ([" <> \n b"], [Content("b")]),
    ],
)
def test_white_space_between_is_nobodys(texts: list[str], pieces: list[object]) -> None:
    assert said(*texts)[: len(texts)] == [_expected(piece) for piece in pieces]


def test_white_space_alone_is_content() -> None:
    assert said(" ", "\n") == [[], [], [Content(" \n")]]


def _shown(texts: Iterable[str], opened: bool) -> tuple[str, str]:
    parser = ThinkingFirst(TaggedThinking("<think>", "</think>", opened), PlainText())
    pieces = [piece for text in texts for piece in parser.feed(text)]
    pieces += parser.finish()
    return (
        "".join(piece.text for piece in pieces if isinstance(piece, Thinking)),
        "".join(piece.text for piece in pieces if isinstance(piece, Content)),
    )


def test_white_space_behind_what_is_held_stays_behind_it() -> None:
    assert _shown(["<", " ", "5"], opened=False) == ("", "< 5")


_PART = st.sampled_from(["<think>", "</think>", "<think", "</", "<", "\n", " ", "text"])


@given(st.lists(_PART, max_size=7), st.booleans(), st.data())
def test_however_it_is_cut_the_same_comes_out(parts: list[str], opened: bool, data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    cut = [text[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(text)])]

    assert _shown(cut, opened) == _shown(text, opened) == _shown([text], opened)


def test_thinking_that_is_not_shown() -> None:
    assert said("<a>", " b", shown=False) == [[], [Content("b")], []]


def test_held_white_space_may_still_come() -> None:
    parser = ThinkingFirst(Tags(), PlainText())
    parser.feed("  ")
    assert parser.holds
    parser.feed("x")
    assert not parser.holds


def _expected(piece: object) -> list[Piece]:
    parts = piece if isinstance(piece, list) else [piece]
    return [Thinking(part) if isinstance(part, str) else cast(Piece, part) for part in parts]
