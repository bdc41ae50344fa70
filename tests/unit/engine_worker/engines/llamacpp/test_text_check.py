"""An answer that leaves its grammar fails before its text is delivered."""

from __future__ import annotations

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.format_checks import GrammarChecker
from engine_worker.engines.llamacpp.text_check import TextAnswerCheck, check_grammars
from engine_worker.schemas.constraint import from_ebnf, from_regex
from engine_worker.schemas.lark_writer import lark_text


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


class _Recorder(GrammarChecker):
    def __init__(self) -> None:
        super().__init__()
        self.checked: list[tuple[str, bool]] = []

    async def check(self, grammar: str, with_words: bool = False) -> None:
        self.checked.append((grammar, with_words))


@pytest.mark.parametrize("is_gbnf", [True, False])
async def test_what_follows_an_answer_is_compiled_in_the_other_process_first(is_gbnf: bool) -> None:
    checker, grammar = _Recorder(), from_regex("[a-z]{3}").grammar
    await check_grammars(checker, "llama.cpp's", is_gbnf, grammar)
    assert checker.checked == [(lark_text(grammar), False) if is_gbnf else ("llama.cpp's", True)]
