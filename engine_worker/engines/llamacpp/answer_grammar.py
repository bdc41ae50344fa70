"""Thinking and the end of sequence around a grammar, in a language that this llama.cpp reads.

llguidance's Lark is faster and takes larger grammars. But llama.cpp (b11549) tokenises what such a grammar
forces with the space that some SentencePiece vocabularies put in front; the grammar then fails, and the
answer goes on without any. GBNF forces nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from engine_worker.schemas.gbnf import gbnf_text
from engine_worker.schemas.grammar import ROOT, Grammar
from engine_worker.schemas.lark import lark_text
from engine_worker.schemas.terms import Chars, Ref, Term, optional, renamed, repeat, sequence, text
from engine_worker.schemas.until import until

_BEGINNING, _BODY, _END = "beginning", "body", "end_of_answer"
_MOST_GAP = 8
_GAP = rf"/[ \t\r\n]{{0,{_MOST_GAP}}}/"


@dataclass(frozen=True, slots=True)
class Thought:
    """`opened`: the prompt ends within the thinking, which the answer must then end."""

    opening: str
    closing: str
    opened: bool = False


@dataclass(frozen=True, slots=True)
class Syntax:
    """The language of a model's grammars. `end_token`: as in `answer_lark`."""

    end_token: int | None = None
    is_gbnf: bool = False

    def written(self, body: Grammar, thought: Thought | None = None) -> str:
        """Raises ConstraintRejected for what is too large in this language."""
        return answer_gbnf(body, thought) if self.is_gbnf else answer_lark(body, thought, self.end_token)


def answer_gbnf(body: Grammar, thought: Thought | None) -> str:
    """Ends with any of the model's ends of sequence."""
    if thought is None:
        return gbnf_text(body)
    names = {ROOT: _BODY}
    rules = {names.get(name, name): renamed(term, names) for name, term in body.rules.items()}
    thinking = until(thought.closing, "thought")
    whole = sequence(Ref(next(iter(thinking))), repeat(Chars.text(" \t\r\n"), 0, _MOST_GAP))
    begin = whole if thought.opened else optional(sequence(text(thought.opening), whole))
    return gbnf_text(Grammar({ROOT: sequence(begin, Ref(_BODY)), **thinking, **rules}))


def answer_lark(body: Grammar, thought: Thought | None, end_token: int | None) -> str:
    """`end_token`: the model's end of sequence. llguidance knows one such token of a vocabulary, which need
    not be the one that the model uses; without it a model would go on where it may.
    """
    names = {ROOT: _BODY}
    parts: list[Term] = [Ref(_BODY)]
    extra: list[str] = []
    if thought is not None:
        parts.insert(0, Ref(_BEGINNING))
        extra += _thought_rules(thought)
    if end_token is not None:
        parts.append(Ref(_END))
        extra.append(f"{_END}: <[{end_token}]>?")
    rules = {names.get(name, name): renamed(term, names) for name, term in body.rules.items()}
    return lark_text(Grammar({ROOT: sequence(*parts), **rules})) + "\n".join(extra) + "\n"


def _thought_rules(thought: Thought) -> list[str]:
    before = "" if thought.opened else re.escape(thought.opening).replace("/", r"\/")
    closing = json.dumps(thought.closing, ensure_ascii=False)
    whole = "thought gap" if thought.opened else "(thought gap)?"
    return [
        f"{_BEGINNING}: {whole}",
        f"thought[suffix={closing}]: /{before}(.|\\n)*/",
        f"gap: {_GAP}",
    ]
