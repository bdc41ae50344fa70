"""Text cut where a mark begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine_worker.output.whole_calls import MarkSplitter

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
