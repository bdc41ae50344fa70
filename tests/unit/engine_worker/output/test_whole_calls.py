"""Text cut where a mark begins."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_worker.output.tool_calls import CallFragment
from engine_worker.output.whole_calls import FromFirstName, MarkSplitter, OnlyCalls

_TEXT = st.text(alphabet="[T] x", max_size=40)


def pieces_of(mark: str, chunks: list[str]) -> list[str]:
    splitter = MarkSplitter(mark)
    return [piece for chunk in chunks for piece in splitter.feed(chunk)] + splitter.finish()


def test_a_mark_begins_a_piece() -> None:
    assert pieces_of("[T]", ["a[T]b[T]", "c"]) == ["a", "[T]b", "[T]", "c"]


def test_a_mark_that_is_split_is_found() -> None:
    assert pieces_of("[T]", ["a[", "T", "]b"]) == ["a", "[T]b"]


def test_a_mark_that_ends_as_it_begins_is_found() -> None:
    assert pieces_of("[T] [", list("x[T] [y")) == ["x", "[T] [", "y"]


@given(chunks=st.lists(_TEXT, max_size=8))
def test_nothing_is_lost_and_marks_are_only_at_beginnings(chunks: list[str]) -> None:
    pieces = pieces_of("[T]", chunks)
    assert "".join(pieces) == "".join(chunks)
    assert all("[T]" not in piece[1:] for piece in pieces)
    assert sum(piece.startswith("[T]") for piece in pieces) == "".join(chunks).count("[T]")


def _read(text: str) -> tuple[str, Sequence[CallFragment]]:
    return "", [CallFragment(1, "f", text)]


def _from_first_name(pieces: Sequence[str]) -> tuple[str, str]:
    """The text that is shown, and the text that is read as calls at the end."""
    parser = FromFirstName(_read, "[", "(", ["f"])
    outputs = [*(parser.feed(piece) for piece in pieces), parser.finish()]
    text = "".join(text for text, _ in outputs)
    return text, "".join(call.arguments for _, calls in outputs for call in calls)


@pytest.mark.parametrize(
    ("output", "text", "calls"),
    [
        ("no calls", "no calls", ""),
        ("so: [f(a=1), g()] done", "so: ", "[f(a=1), g()] done"),
        ("[ f (1)]", "", "[ f (1)]"),
        ("[g(1)] [f(2)]", "[g(1)] ", "[f(2)]"),
        ("[1, 2] and [fun", "[1, 2] and [fun", ""),
        ("[", "[", ""),
    ],
)
def test_calls_without_a_mark_begin_with_an_offered_name(output: str, text: str, calls: str) -> None:
    assert _from_first_name([output]) == (text, calls)
    assert _from_first_name(list(output)) == (text, calls)


def test_text_outside_forced_calls_is_dropped() -> None:
    parser = OnlyCalls(FromFirstName(_read, "[", "(", ["f"]))
    assert parser.feed("text [") == ("", ())
    assert parser.holds
    assert parser.feed("f(1)]") == ("", ())
    assert parser.finish() == ("", [CallFragment(1, "f", "[f(1)]")])
