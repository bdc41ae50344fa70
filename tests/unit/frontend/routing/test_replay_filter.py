"""ReplayFilter: of a regenerated response what the client lacks is left; another response is an error."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from frontend.routing.journal import Journal
from frontend.routing.replay_filter import DeliveredText, ReplayFilter


def _text(content: str = "", thinking: str = "", token_ids: Sequence[int] = ()) -> pb.Delta:
    return pb.Delta(content=content, thinking=thinking, token_ids=token_ids)


def _call(index: int, name: str, arguments: str, complete: bool = False) -> pb.Delta:
    call = pb.ToolCallDelta(index=index, name=name, arguments_fragment=arguments, complete=complete)
    return pb.Delta(tool_calls=[call])


def _filter(*delivered: pb.Delta) -> ReplayFilter:
    event = pb.GenerateEvent(deltas=delivered)
    text, journal = DeliveredText(), Journal()
    text.record(event)
    journal.record(event)
    return ReplayFilter(text, journal)


def _new(replay: ReplayFilter, *deltas: pb.Delta, done: bool = False) -> pb.GenerateEvent:
    return replay.strip_delivered(
        pb.GenerateEvent(deltas=deltas, done=pb.Done(finish_reason=pb.Done.STOP) if done else None)
    )


def test_text_and_tokens_continue_after_what_was_delivered() -> None:
    replay = _filter(_text(thinking="Hm", token_ids=[1]), _text(content="Hel", token_ids=[2]))

    assert not _new(replay, _text(thinking="Hm", token_ids=[1])).deltas
    (new,) = _new(replay, _text(content="Hello", token_ids=[2, 3])).deltas
    assert (new.content, list(new.token_ids)) == ("lo", [3])
    event = _new(replay, _text(content=".", token_ids=[4]), done=True)
    assert event.deltas[0].content == "."
    assert event.done.finish_reason == pb.Done.STOP


def test_a_call_continues_within_its_arguments() -> None:
    replay = _filter(_call(0, "f", '{"a'))

    assert not _new(replay, _call(0, "f", '{"')).deltas
    (new,) = _new(replay, _call(0, "", 'a": 1}', complete=True)).deltas
    (call,) = new.tool_calls
    assert (call.name, call.arguments_fragment, call.complete) == ("", '": 1}', True)


def test_a_call_that_was_not_begun_is_passed_on_whole() -> None:
    replay = _filter(_call(0, "f", "{}", complete=True))

    assert not _new(replay, _call(0, "f", "{}", complete=True)).deltas
    (new,) = _new(replay, _call(1, "g", "{", complete=False)).deltas
    assert new.tool_calls[0].name == "g"


@pytest.mark.parametrize(
    ("delivered", "regenerated"),
    [
        (_text(content="Hel"), _text(content="Hal")),
        (_text(thinking="Hm"), _text(thinking="Ah")),
        (_call(0, "f", "{"), _call(0, "g", "{")),
        (_call(0, "f", '{"a'), _call(0, "f", '{"b')),
    ],
)
def test_another_response_is_an_error(delivered: pb.Delta, regenerated: pb.Delta) -> None:
    with pytest.raises(EngineFailed, match="another one answers differently"):
        _new(_filter(delivered), regenerated)


def test_a_response_that_ends_before_what_was_delivered_is_an_error() -> None:
    with pytest.raises(EngineFailed, match="another one answers differently"):
        _new(_filter(_text(content="Hello")), _text(content="Hel"), done=True)
