"""Thinking between two texts."""

from __future__ import annotations

import pytest

from engine_worker.output.tagged_reasoning import TaggedThinking


def _split(text: str, opened: bool = False) -> tuple[str, str]:
    """In one piece and a character at a time it is the same."""
    results = []
    for pieces in ([text], list(text)):
        parser = TaggedThinking("<think>", "</think>", opened)
        fed = [*(parser.feed(piece) for piece in pieces), parser.finish()]
        results.append(("".join(thinking for thinking, _ in fed), "".join(content for _, content in fed)))
    assert results[0] == results[1]
    return results[0]


@pytest.mark.parametrize(
    ("text", "thinking", "content"),
    [
        ("<think>Hm</think>\nYes", "Hm", "\nYes"),
        ("Yes <think>Hm</think>", "", "Yes <think>Hm</think>"),
        ("<think>Hm </thi", "Hm </thi", ""),
        ("<think>a < b</think>c</think>", "a < b", "c</think>"),
        ("<thin", "", "<thin"),
        ("", "", ""),
    ],
)
def test_thinking_is_what_an_answer_begins_with(text: str, thinking: str, content: str) -> None:
    assert _split(text) == (thinking, content)


def test_the_prompt_may_have_begun_it() -> None:
    assert _split("Hm</think>Yes", opened=True) == ("Hm", "Yes")
    assert _split("Hm", opened=True) == ("Hm", "")


def test_text_that_may_be_markup_is_held() -> None:
    parser = TaggedThinking("<think>", "</think>")
    assert (parser.feed("<thi"), parser.holds) == (("", ""), True)
    assert (parser.feed("nk>a</"), parser.holds) == (("a", ""), True)
    assert (parser.feed("think>b"), parser.holds) == (("", "b"), False)
