"""Refuses grammars on whose recursion some engines' parsers do not end."""

from __future__ import annotations

from collections.abc import Collection

from engine_worker.schemas.grammar_checks import is_nullable, left_recursive_rule
from engine_worker.schemas.patterns import Unsupported
from engine_worker.schemas.rules import rules_where
from engine_worker.schemas.schema_to_grammar import Grammar
from engine_worker.schemas.terms import Choice, Repeat, Sequence, Term, Terminal


def check_recursion(grammar: Grammar) -> None:
    """Raises Unsupported for what some engines' parsers do not end on: left recursion, and an unbounded
    repetition of what may be empty.
    """
    nullable = rules_where(is_nullable, grammar.rules)
    for name, term in grammar.rules.items():
        if _repeats_empty(term, nullable):
            raise Unsupported(f"an unbounded repetition of what may be empty, in the rule {name}")
    if (recursive := left_recursive_rule(grammar.rules, nullable)) is not None:
        raise Unsupported(f"left recursion, in the rule {recursive}")


def _repeats_empty(term: Term, nullable: Collection[str]) -> bool:
    match term:
        case Repeat(part, _, None) if is_nullable(part, nullable):
            return True
        case Repeat(part) | Terminal(part):
            return _repeats_empty(part, nullable)
        case Sequence(parts) | Choice(parts):
            return any(_repeats_empty(part, nullable) for part in parts)
        case _:
            return False
