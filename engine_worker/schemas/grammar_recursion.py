"""Refuses grammars on whose recursion some engines' parsers do not end."""

from __future__ import annotations

from collections.abc import Iterator

from engine_worker.schemas.patterns import Unsupported
from engine_worker.schemas.schema_to_grammar import Grammar
from engine_worker.schemas.terms import Chars, Choice, Ref, Repeat, Sequence, Term, Terminal


def check_recursion(grammar: Grammar) -> None:
    """Raises Unsupported for what some engines' parsers do not end on: left recursion, and an unbounded
    repetition of what may be empty.
    """
    empty = _empty_rules(grammar)
    for name, term in grammar.rules.items():
        if _repeats_empty(term, empty):
            raise Unsupported(f"an unbounded repetition of what may be empty, in the rule {name}")
        seen, following = set[str](), [*_first_rules(term, empty)]
        while following:
            if (each := following.pop()) == name:
                raise Unsupported(f"left recursion, in the rule {name}")
            if each not in seen:
                seen.add(each)
                following += _first_rules(grammar.rules[each], empty)


def _empty_rules(grammar: Grammar) -> set[str]:
    """The rules that match the empty text."""
    empty = set[str]()
    while True:
        more = {name for name, term in grammar.rules.items() if _may_be_empty(term, empty)}
        if more == empty:
            return empty
        empty = more


def _may_be_empty(term: Term, empty: set[str]) -> bool:
    match term:
        case Chars():
            return False
        case Ref(name):
            return name in empty
        case Sequence(parts):
            return all(_may_be_empty(part, empty) for part in parts)
        case Choice(options):
            return any(_may_be_empty(option, empty) for option in options)
        case Repeat(part, least):
            return least == 0 or _may_be_empty(part, empty)
        case Terminal(part):
            return _may_be_empty(part, empty)


def _repeats_empty(term: Term, empty: set[str]) -> bool:
    match term:
        case Repeat(part, _, None) if _may_be_empty(part, empty):
            return True
        case Repeat(part) | Terminal(part):
            return _repeats_empty(part, empty)
        case Sequence(parts) | Choice(parts):
            return any(_repeats_empty(part, empty) for part in parts)
        case _:
            return False


def _first_rules(term: Term, empty: set[str]) -> Iterator[str]:
    """The rules that a text of this term may begin with."""
    match term:
        case Ref(name):
            yield name
        case Sequence(parts):
            for part in parts:
                yield from _first_rules(part, empty)
                if not _may_be_empty(part, empty):
                    return
        case Choice(options):
            for option in options:
                yield from _first_rules(option, empty)
        case Repeat(part):
            yield from _first_rules(part, empty)
        case Chars() | Terminal():
            return
