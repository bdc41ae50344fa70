"""Thinking apart from content, with upstream's white space."""

from __future__ import annotations

from typing import cast

import pytest

from engine_worker.chat.base import Content, Piece, PlainText, Thinking
from engine_worker.chat.thinking import ThinkingFirst


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
