"""Stop texts across the borders of tokens."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine_worker.output.stop_matcher import StopMatcher

TEXTS = st.text(alphabet="ab", max_size=30)
STOPS = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3)


def _shown(stops: list[str], chunks: list[str]) -> tuple[str, str | None]:
    """What is shown of an answer in these pieces, and what stopped it."""
    matcher = StopMatcher(stops)
    shown = ""
    for chunk in chunks:
        shown += matcher.feed(chunk)
        if matcher.matched is not None:
            return shown, matcher.matched
    return shown + matcher.flush(), matcher.matched


def _up_to_the_end(chunks: list[str], stops: list[str]) -> str:
    """The text with the piece that completes a stop text, or all of it: an engine stops there."""
    text = ""
    for chunk in chunks:
        text += chunk
        if any(stop in text for stop in stops):
            break
    return text


def _until_earliest(text: str, stops: list[str]) -> str:
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places else text


@pytest.mark.parametrize(
    ("stops", "chunks", "shown", "matched"),
    [
        ([], ["a", "b"], "ab", None),
        ([""], ["a"], "a", None),
        (["X"], ["aXb"], "a", "X"),
        (["XY"], ["aX", "Yb"], "a", "XY"),
        (["XY"], ["aX", "b"], "aXb", None),
        (["XY"], ["aX"], "aX", None),
        (["XYZ"], ["XY", "XY", "Z"], "XY", "XYZ"),
        (["b", "a"], ["ab"], "", "a"),
        (["ab", "abc"], ["abc"], "", "ab"),
        (["abc", "ab"], ["abc"], "", "abc"),
        (["</s>"], ["x<", "/", "s", ">"], "x", "</s>"),
        (["é🐑"], ["aé", "🐑"], "a", "é🐑"),
    ],
)
def test_shown_text_and_matched_stop(
    stops: list[str], chunks: list[str], shown: str, matched: str | None
) -> None:
    assert _shown(stops, chunks) == (shown, matched)


def test_no_more_is_held_back_than_can_still_match() -> None:
    matcher = StopMatcher(["STOP", "OP"])

    assert [matcher.feed(text) for text in ("aS", "T", "x", "STO", "S", "O")] == [
        "a",
        "",
        "STx",
        "",
        "STO",
        "S",
    ]
    assert matcher.flush() == "O"
    assert matcher.flush() == ""


@given(st.lists(TEXTS, max_size=6), STOPS)
@example(["ab", "b"], ["abb", "b"])
def test_a_text_is_shown_up_to_the_earliest_stop(chunks: list[str], stops: list[str]) -> None:
    text = _up_to_the_end(chunks, stops)

    shown, matched = _shown(stops, chunks)

    assert shown == _until_earliest(text, stops)
    assert (matched is not None) == any(stop in text for stop in stops)


@given(st.lists(TEXTS, max_size=6), st.text(alphabet="abc", min_size=1, max_size=4))
def test_the_same_with_a_single_stop_text(chunks: list[str], stop: str) -> None:
    assert _shown([stop], chunks)[0] == _until_earliest("".join(chunks), [stop])
