"""Tool calls joined from fragments, for clients that get whole calls."""

from __future__ import annotations

from drover.v1 import engine_pb2 as pb
from frontend.api.tool_calls import ToolCalls, WholeCall


def _delta(*pieces: pb.ToolCallDelta) -> pb.Delta:
    return pb.Delta(tool_calls=pieces)


def test_fragments_of_two_calls_that_alternate_are_two_calls() -> None:
    calls = ToolCalls()
    calls.feed(_delta(pb.ToolCallDelta(index=0, id="a", name="f", arguments_fragment='{"x"')))
    calls.feed(_delta(pb.ToolCallDelta(index=1, id="b", name="g", arguments_fragment='{"y"')))
    first = calls.feed(_delta(pb.ToolCallDelta(index=0, arguments_fragment=": 1}", complete=True)))
    second = calls.feed(_delta(pb.ToolCallDelta(index=1, arguments_fragment=": 2}", complete=True)))

    assert first == [WholeCall(0, "a", "f", {"x": 1})]
    assert second == [WholeCall(1, "b", "g", {"y": 2})]


def test_arguments_that_are_no_object_are_dropped() -> None:
    calls = ToolCalls()
    piece = pb.ToolCallDelta(index=0, id="a", name="f", arguments_fragment="[1]", complete=True)

    assert calls.feed(_delta(piece)) == []


def test_a_fragment_is_kept_as_it_is_until_the_call_is_whole() -> None:
    """Joining them for each new one would cost the more the longer the arguments are."""
    calls = ToolCalls()
    for number in range(100):
        calls.feed(_delta(pb.ToolCallDelta(index=0, name="f", arguments_fragment=str(number))))

    assert len(calls._open[0].fragments) == 100
