"""A grammar in llguidance's Lark dialect, which llama.cpp takes after a line that names it."""

from __future__ import annotations

import json

from engine_worker.schemas.grammar import ROOT, Grammar
from engine_worker.schemas.regex_text import regex_text
from engine_worker.schemas.terms import Chars, Choice, Leaf, Ref, Repeat, Sequence, Term
from engine_worker.schemas.words import literal_of

HEADER = "%llguidance {}\n"


def lark_text(grammar: Grammar) -> str:
    writer = _Writer()
    rules = [f"{_rule_name(name)}: {writer.written(term)}" for name, term in grammar.rules.items()]
    return HEADER + "\n".join([*rules, *writer.terminals()]) + "\n"


class _Writer:
    """Terminals are what llguidance's lexer finds; equal ones are one."""

    def __init__(self) -> None:
        self._names: dict[Term, str] = {}

    def terminals(self) -> list[str]:
        return [f"{name}: /{regex_text(term)}/" for term, name in self._names.items()]

    def written(self, term: Term) -> str:
        match term:
            case Leaf(part):
                if (characters := literal_of(part)) is not None:
                    return json.dumps(characters).replace("\x7f", "\\u007f")
                return self._names.setdefault(part, f"T{len(self._names)}")
            case Ref(name):
                return _rule_name(name)
            case Sequence(parts):
                return " ".join(map(self._grouped, parts)) if parts else '""'
            case Choice(options):
                return " | ".join(map(self._grouped, options))
            case Repeat(part, least, most):
                return self._grouped(part) + _times(least, most)
            case Chars():
                return self.written(Leaf(term))

    def _grouped(self, term: Term) -> str:
        written = self.written(term)
        return written if isinstance(term, (Leaf, Ref)) else f"({written})"


def _times(least: int, most: int | None) -> str:
    simple = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    return simple.get((least, most)) or f"{{{least},{'' if most is None else most}}}"


def _rule_name(name: str) -> str:
    return "start" if name == ROOT else name
