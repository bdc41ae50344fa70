"""A grammar's rules: which ones a term refers to, and which ones have a property."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from engine_worker.schemas.terms import Choice, Ref, Repeat, Sequence, Term


def references(term: Term) -> Iterator[str]:
    """The names of the rules in a term, each as often as it stands there."""
    match term:
        case Ref(name):
            yield name
        case Sequence(parts) | Choice(parts):
            for part in parts:
                yield from references(part)
        case Repeat(part, _, _):
            yield from references(part)


def rules_where(holds: Callable[[Term, Collection[str]], bool], rules: Mapping[str, Term]) -> frozenset[str]:
    """The rules whose term it holds for, given the other rules that it holds for."""
    users: dict[str, list[str]] = {}
    for name, term in rules.items():
        for needed in {*references(term)}:
            users.setdefault(needed, []).append(name)
    found: set[str] = set()
    due = [*rules]
    while due:
        name = due.pop()
        if name not in found and holds(rules[name], found):
            found.add(name)
            due += users.get(name, [])
    return frozenset(found)
