"""An answer that is not in its format ends with an error."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.format_checks import JsonAnswerCheck


def _events(*texts: str, done: pb.Done) -> list[pb.GenerateEvent]:
    return [
        *(pb.GenerateEvent(deltas=[pb.Delta(content=text)]) for text in texts),
        pb.GenerateEvent(done=done),
    ]


def _see(*texts: str, done: pb.Done) -> None:
    check = JsonAnswerCheck()
    for event in _events(*texts, done=done):
        check.feed(event)


def test_an_answer_in_its_format_ends() -> None:
    _see('{"a"', ": 1}", done=pb.Done(finish_reason=pb.Done.STOP, matched_token=2))


def test_free_text_is_an_error() -> None:
    with pytest.raises(ConstraintRejected, match="did not keep to the format"):
        _see('{"a"', " roses are red", done=pb.Done(finish_reason=pb.Done.STOP))


@pytest.mark.parametrize(
    "done",
    [pb.Done(finish_reason=pb.Done.LENGTH), pb.Done(finish_reason=pb.Done.STOP, matched_stop="}")],
    ids=["tokens", "stop text"],
)
def test_an_answer_cut_by_a_limit_or_stop_text_passes(done: pb.Done) -> None:
    _see('{"a"', done=done)
