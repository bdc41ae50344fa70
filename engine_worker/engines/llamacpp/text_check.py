"""Follows an answer with the grammar that it must obey, and fails it where it does not.

llama.cpp drops a grammar in mid-answer when its library fails, as it may with rules that loop over single
characters, and generates free text from then on.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Protocol

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.format_checks import GrammarChecker, ended_by_itself
from engine_worker.schemas.lark_writer import lark_text
from engine_worker.schemas.schema_to_grammar import Grammar

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class Matcher(Protocol):
    """The part of llguidance.LLMatcher that is used."""

    def try_consume_tokens(self, tokens: list[int]) -> int: ...

    def is_accepting(self) -> bool: ...


class TextAnswerCheck:
    """Verifies an answer piece by piece, before it is delivered. Tokens are bytes."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher

    @classmethod
    async def of(cls, grammar: Grammar) -> TextAnswerCheck:
        """Compiles in a thread."""
        return cls(await asyncio.to_thread(_matcher, grammar))

    def feed(self, event: pb.GenerateEvent) -> None:
        """Raises ConstraintRejected. Answers cut by a limit or a stop text need not be complete."""
        for delta in event.deltas:
            data = list(delta.content.encode())
            if data and self._matcher.try_consume_tokens(data) < len(data):
                raise _not_kept()
        if ended_by_itself(event) and not self._matcher.is_accepting():
            raise _not_kept()


async def check_grammars(
    checker: GrammarChecker, grammar: str, is_gbnf: bool, text_grammar: Grammar | None
) -> None:
    """Compile, in the checker's process, what llguidance is given for an answer. `grammar`: llama.cpp's;
    `text_grammar`: the one that a TextAnswerCheck follows. Raises ConstraintRejected.
    """
    if not is_gbnf and grammar:
        await checker.check(grammar, text_grammar is not None)
    if is_gbnf and text_grammar is not None:
        await checker.check(await asyncio.to_thread(lark_text, text_grammar))


def _not_kept() -> ConstraintRejected:
    return ConstraintRejected(
        "the engine did not keep to the constraint; make the grammar simpler: a class with a count, like "
        "`[a-z]*`, in place of a rule that repeats itself"
    )


def _matcher(grammar: Grammar) -> Matcher:
    from llguidance import LLMatcher

    lark = LLMatcher.grammar_from_lark(lark_text(grammar))
    matcher: Matcher = LLMatcher(_tokenizer(), lark, log_level=0)
    return matcher


@cache
def _tokenizer() -> LLTokenizer:
    # Imported here: few requests need it.
    from llguidance import LLTokenizer, TokenizerWrapper

    from engine_worker.engines.llamacpp.grammar_compiler_process import ByteTokens

    return LLTokenizer(TokenizerWrapper(ByteTokens()))
