"""An answer that leaves its grammar fails before its text is delivered."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.text_check import TextAnswerCheck
from engine_worker.schemas.constraint import from_ebnf, from_regex


def _text(*contents: str) -> pb.GenerateEvent:
    return pb.GenerateEvent(deltas=[pb.Delta(content=content) for content in contents])


def _done(reason: pb.Done.FinishReason.ValueType = pb.Done.STOP, stop: str = "") -> pb.GenerateEvent:
    done = pb.Done(finish_reason=reason)
    if stop:
        done.matched_stop = stop
    return pb.GenerateEvent(done=done)


async def test_a_whole_answer_passes() -> None:
    check = await TextAnswerCheck.of(from_regex("[a-zé]{3}!").grammar)
    for event in (_text("a"), _text("", "é"), _text("c!"), _done()):
        check.feed(event)


async def test_thinking_is_not_part_of_it() -> None:
    check = await TextAnswerCheck.of(from_regex("yes").grammar)
    check.feed(
        pb.GenerateEvent(deltas=[pb.Delta(thinking="Hm."), pb.Delta(content="yes")], done=_done().done)
    )


async def test_text_that_the_grammar_does_not_have_is_refused_at_once() -> None:
    check = await TextAnswerCheck.of(from_ebnf('root ::= "(" root ")" | "x"').grammar)
    check.feed(_text("((x"))
    with pytest.raises(ConstraintRejected, match="did not keep to the constraint"):
        check.feed(_text("), and so on"))


async def test_an_answer_that_ends_too_early_is_refused() -> None:
    check = await TextAnswerCheck.of(from_regex("[0-9]{4}").grammar)
    check.feed(_text("12"))
    with pytest.raises(ConstraintRejected, match="did not keep to the constraint"):
        check.feed(_done())


@pytest.mark.parametrize("end", [_done(pb.Done.LENGTH), _done(stop="3")], ids=["a limit", "a stop text"])
async def test_an_answer_that_is_cut_may_be_incomplete(end: pb.GenerateEvent) -> None:
    check = await TextAnswerCheck.of(from_regex("[0-9]{4}").grammar)
    check.feed(_text("12"))
    check.feed(end)
