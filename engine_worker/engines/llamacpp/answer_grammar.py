"""Thinking and the end of sequence around a grammar, in llguidance's Lark, which this llama.cpp reads."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from engine_worker.schemas.grammar import ROOT, Grammar
from engine_worker.schemas.lark import lark_text
from engine_worker.schemas.terms import Ref, Term, renamed, sequence

_BEGINNING, _BODY, _END = "beginning", "body", "end_of_answer"
_GAP = r"/[ \t\r\n]{0,8}/"


@dataclass(frozen=True, slots=True)
class Thought:
    """`opened`: the prompt ends within the thinking, which the answer must then end."""

    opening: str
    closing: str
    opened: bool = False


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
