"""What a client has had of an answer is not said again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drover.v1 import engine_pb2 as pb
from engine_worker.output.base import CallPart, Content, Piece, Thinking
from engine_worker.output.delivered_filter import DeliveredFilter


def delivered(**fields: object) -> DeliveredFilter:
    return DeliveredFilter(pb.Continuation(**fields))  # type: ignore[arg-type]  # mypy cannot type fields in **


@given(texts=st.lists(st.text(max_size=6), max_size=8), sent=st.integers(0, 30))
def test_content_continues_where_it_stopped(texts: list[str], sent: int) -> None:
    memory = delivered(content_characters_sent=sent)
    new_part = [memory.new_part(Content(text)) for text in texts]
    assert "".join(piece.text for piece in new_part if isinstance(piece, Content)) == "".join(texts)[sent:]


def test_the_channels_are_counted_apart() -> None:
    memory = delivered(content_characters_sent=1, thinking_characters_sent=2)
    pieces: list[Piece] = [Thinking("abc"), Content("de")]
    assert [memory.new_part(piece) for piece in pieces] == [Thinking("c"), Content("e")]


def test_a_call_that_was_begun_continues_without_its_name() -> None:
    memory = delivered(tool_call_ids_sent=["call_x"], tool_call_argument_characters_sent=[3])
    assert memory.call_id(0) == "call_x"
    assert memory.new_part(CallPart(0, "call_x", "f", '{"')) is None
    assert memory.new_part(CallPart(0, arguments='a":1}', complete=True)) == CallPart(
        0, arguments='":1}', complete=True
    )


def test_a_call_that_was_delivered_whole_is_not_sent_again() -> None:
    memory = delivered(tool_call_ids_sent=["call_x"], tool_call_argument_characters_sent=[2])
    assert memory.new_part(CallPart(0, "call_x", "f", "{}", complete=True)) is None


def test_a_call_that_was_not_delivered_is_sent_whole() -> None:
    part = CallPart(1, "call_y", "g", "{}", complete=True)
    memory = delivered(tool_call_ids_sent=["call_x"])
    assert memory.new_part(part) == part
    assert memory.call_id(1).startswith("call_")
