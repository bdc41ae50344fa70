"""Puts the terminals of a grammar in Lark into its rules, where each is one token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine_worker.schemas.grammar_recursion import check_recursion
from engine_worker.schemas.patterns import Unsupported
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import (
    Chars,
    Choice,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    choice,
    optional,
    repeat,
    sequence,
)

_START = "start"
# Parts of all terminals where they stand in rules, in which terminals are written out.
_MAX_PARTS = 50_000


class LarkGrammar:
    """Puts the terminals into the rules. `ignored`: what may stand after each terminal, and at the start."""

    def __init__(self, rules: Mapping[str, Term], terminals: Mapping[str, Term], ignored: list[Term]) -> None:
        self._rules = rules
        self._terminals = terminals
        # By name: what a terminal stands for, and how many parts that has. None while it is being read.
        self._known: dict[str, tuple[Term, int] | None] = {}
        self._parts = 0
        self._gap = self._gap_of(ignored)

    def _gap_of(self, ignored: list[Term]) -> Term | None:
        return repeat(Terminal(choice(*self._all(ignored)[0]))) if ignored else None

    def grammar(self) -> Grammar:
        if _START not in self._rules:
            raise Unsupported(f"a grammar without the rule {_START}")
        rules = {f"l_{name}": self._rule(term) for name, term in self._rules.items()}
        start = Ref(f"l_{_START}")
        grammar = Grammar({ROOT: start if self._gap is None else sequence(self._gap, start), **rules})
        check_recursion(grammar)
        return grammar

    def _rule(self, term: Term) -> Term:
        match term:
            case Ref(name) if not is_terminal(name):
                if name not in self._rules:
                    raise Unsupported(f"the rule {name}, which is not defined")
                return Ref(f"l_{name}")
            case Sequence(parts):
                return sequence(*map(self._rule, parts))
            case Choice(options):
                return choice(*map(self._rule, options))
            case Repeat(part, least, most):
                return repeat(self._rule(part), least, most)
            case _:
                return self._token(*self._terminal(term))

    def _token(self, term: Term, parts: int) -> Term:
        """A terminal of the grammar; lexers want one that is not empty."""
        self._parts += parts
        if self._parts > _MAX_PARTS:
            raise Unsupported(f"terminals with more than {_MAX_PARTS} parts")
        match term:
            case Repeat(part, 0, most):
                token = optional(Terminal(repeat(part, 1, most)))
            case Sequence(()):
                return term
            case _:
                token = Terminal(term)
        return token if self._gap is None else sequence(token, self._gap)

    def _terminal(self, term: Term) -> tuple[Term, int]:
        """The term with all terminals in it written out, and the number of its parts."""
        match term:
            case Ref(name):
                return self._terminal_of(name)
            case Sequence(parts):
                inner, count = self._all(parts)
                return sequence(*inner), count
            case Choice(options):
                inner, count = self._all(options)
                return choice(*inner), count
            case Repeat(part, least, most):
                of_part, count = self._terminal(part)
                return repeat(of_part, least, most), count + 1
            case Terminal(part):
                return part, _count(part)
            case Chars():
                return term, 1

    def _all(self, terms: Iterable[Term]) -> tuple[list[Term], int]:
        inner: list[Term] = []
        total = 0
        for term in terms:
            written, count = self._terminal(term)
            inner.append(written)
            total += count
            if total > _MAX_PARTS:
                raise Unsupported(f"a terminal with more than {_MAX_PARTS} parts")
        return inner, total

    def _terminal_of(self, name: str) -> tuple[Term, int]:
        if name not in self._known:
            if name not in self._terminals:
                raise Unsupported(f"the terminal {name}, which is not defined")
            self._known[name] = None
            self._known[name] = self._terminal(self._terminals[name])
        found = self._known[name]
        if found is None:
            raise Unsupported(f"the terminal {name}, which contains itself")
        return found


def _count(term: Term) -> int:
    match term:
        case Sequence(parts) | Choice(parts):
            return sum(map(_count, parts))
        case Repeat(part) | Terminal(part):
            return 1 + _count(part)
        case _:
            return 1


def is_terminal(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()
