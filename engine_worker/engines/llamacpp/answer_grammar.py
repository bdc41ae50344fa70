"""Writes the grammar of a whole answer: thinking, the body, and the end of sequence, in Lark or in GBNF.

llguidance's Lark is faster and takes larger grammars, and is the default. But llama.cpp (b11549) tokenises
text that such a grammar forces with the space that some SentencePiece vocabularies prepend; the grammar then
fails and the rest of the answer is unconstrained. For those vocabularies GBNF is used, which forces no text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from engine_worker.schemas.free_answers import FREE_TEXT
from engine_worker.schemas.gbnf_writer import gbnf_text
from engine_worker.schemas.lark_writer import lark_text
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import (
    EMPTY,
    Chars,
    Ref,
    Term,
    choice,
    optional,
    renamed,
    repeat,
    sequence,
    text,
)

_BEGINNING, _BODY, _END = "beginning", "body", "end_of_answer"
_FREE_OR_BODY, _BEFORE_BODY = "free_or_body", "before_body"
_MAX_GAP = 8
_GAP = rf"/[ \t\r\n]{{0,{_MAX_GAP}}}/"


@dataclass(frozen=True, slots=True)
class ThinkingMarkup:
    """The markup around thinking. `opened`: the prompt ends inside thinking, so the answer must close it."""

    opening: str
    closing: str
    opened: bool = False


@dataclass(frozen=True, slots=True)
class GrammarSyntax:
    """The grammar language for one model. `end_token`: as in `answer_lark`."""

    end_token: int | None = None
    is_gbnf: bool = False

    def written(self, body: Grammar, thinking: ThinkingMarkup | None = None, tag: str = "") -> str:
        """The grammar as text. `tag`, only in Lark: as in `answer_lark`. Raises ConstraintRejected if it is
        too large in this language.
        """
        if self.is_gbnf:
            return answer_gbnf(body, thinking)
        return answer_lark(body, thinking, self.end_token, tag)


def answer_gbnf(body: Grammar, thinking: ThinkingMarkup | None) -> str:
    """The grammar in GBNF; the answer may end with any of the model's end-of-sequence tokens."""
    if thinking is None:
        return gbnf_text(body)
    names = {ROOT: _BODY}
    rules = {names.get(name, name): renamed(term, names) for name, term in body.rules.items()}
    until_closing = rules_until(thinking.closing, "thought")
    whole = sequence(Ref(next(iter(until_closing))), repeat(Chars.text(" \t\r\n"), 0, _MAX_GAP))
    begin = whole if thinking.opened else optional(sequence(text(thinking.opening), whole))
    return gbnf_text(Grammar({ROOT: sequence(begin, Ref(_BODY)), **until_closing, **rules}))


def answer_lark(body: Grammar, thinking: ThinkingMarkup | None, end_token: int | None, tag: str = "") -> str:
    """The grammar in llguidance's Lark. `end_token`: the model's end-of-sequence token, which the grammar
    must allow: llguidance knows only one such token of a vocabulary, and that may be another one. With a
    `tag` the answer is free text without it (the body's rule FREE_TEXT), or any text up to the tag and then
    the body.
    """
    names = {ROOT: _BODY}
    parts: list[Term] = [Ref(_FREE_OR_BODY if tag else _BODY)]
    extra: list[str] = []
    if tag:
        suffix = json.dumps(tag, ensure_ascii=False)
        extra += [
            f"{_FREE_OR_BODY}: {FREE_TEXT}? | {_BEFORE_BODY} {_BODY}",
            f"{_BEFORE_BODY}[suffix={suffix}]: /(.|\\n)*/",
        ]
    if thinking is not None:
        parts.insert(0, Ref(_BEGINNING))
        extra += _thought_rules(thinking)
    if end_token is not None:
        parts.append(Ref(_END))
        extra.append(f"{_END}: <[{end_token}]>?")
    rules = {names.get(name, name): renamed(term, names) for name, term in body.rules.items()}
    return lark_text(Grammar({ROOT: sequence(*parts), **rules})) + "\n".join(extra) + "\n"


def _thought_rules(thinking: ThinkingMarkup) -> list[str]:
    before = "" if thinking.opened else re.escape(thinking.opening).replace("/", r"\/")
    closing = json.dumps(thinking.closing, ensure_ascii=False)
    whole = "thought gap" if thinking.opened else "(thought gap)?"
    return [
        f"{_BEGINNING}: {whole}",
        f"thought[suffix={closing}]: /{before}(.|\\n)*/",
        f"gap: {_GAP}",
    ]


def rules_until(closing: str, prefix: str) -> dict[str, Term]:
    """Rules for any text up to the first `closing`, which it includes; the first rule is the start."""
    names = [f"{prefix}{matched}" for matched in range(len(closing))]
    rules: dict[str, Term] = {}
    for matched, name in enumerate(names):
        following: dict[int, list[str]] = {}
        for character in sorted(set(closing)):
            following.setdefault(_matched(closing, closing[:matched] + character), []).append(character)
        others = Chars.text(closing).complement()
        options: list[Term] = []
        for state, characters in following.items():
            chars = Chars.text("".join(characters))
            if state == 0:
                others = Chars.of((*others.ranges, *chars.ranges))
                continue
            rest = EMPTY if state == len(closing) else Ref(names[state])
            options.append(sequence(chars, rest))
        rules[name] = choice(*options, sequence(others, Ref(names[0])))
    return rules


def _matched(closing: str, seen: str) -> int:
    """The length of the longest prefix of `closing` that `seen` ends with."""
    return max(length for length in range(len(seen) + 1) if closing.startswith(seen[len(seen) - length :]))
