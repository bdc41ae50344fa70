"""Checks and rewrites a grammar that a client wrote, so that every engine's library can work with it.

Refused: rules that are not defined, that begin with themselves (llama.cpp cannot have them) or that no text
of finite length matches. Rewritten: an unbounded repetition of a part that may be empty, in which a parser
could go on without reading anything. A grammar without recursion becomes one terminal, which engines compile
to an automaton; the rules of another one get names that each engine's language has.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from drover.errors import ConstraintRejected
from engine_worker.schemas.cost_limits import MAX_COUNTED_COST
from engine_worker.schemas.rules import references, rules_where
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import (
    EMPTY,
    NOTHING,
    Choice,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    choice,
    renamed,
    repeat,
    sequence,
)

_SHOWN_CHARACTERS = 40
_MAX_RULES = 2000
# Of a grammar as one terminal; larger ones stay rules.
_MAX_INLINED_POSITIONS = 2000
# Rewriting a sequence takes the square of its parts, and loops within one another multiply.
_MAX_EMPTY_PARTS = 200
_MAX_REWRITTEN_POSITIONS = 50_000


def checked(grammar: Grammar) -> Grammar:
    """The rules that ROOT needs, rewritten. Raises ConstraintRejected."""
    rules = _reachable(grammar.rules)
    _check_finite(rules)
    nullable = rules_where(is_nullable, rules)
    if (recursive := left_recursive_rule(rules, nullable)) is not None:
        raise ConstraintRejected(
            f"grammar: the rule {_shown(recursive)} begins with itself; write it as a repetition, like "
            '`list ::= item ("," item)*`'
        )
    rules = {name: _without_empty_loops(term, nullable) for name, term in rules.items()}
    inlined = _inlined(rules)
    return Grammar(_numbered(rules) if inlined is None else {ROOT: inlined})


def is_nullable(term: Term, nullable: Collection[str] = ()) -> bool:
    """Whether the empty text matches. `nullable`: the rules that it matches."""
    match term:
        case Ref(name):
            return name in nullable
        case Sequence(parts):
            return all(is_nullable(part, nullable) for part in parts)
        case Choice(options):
            return any(is_nullable(option, nullable) for option in options)
        case Repeat(part, least, _):
            return not least or is_nullable(part, nullable)
        case Terminal(part):
            return is_nullable(part, nullable)
        case _:
            return False


def not_empty(term: Term) -> Term:
    """A term without rules that matches the same texts but the empty one."""
    match term:
        case Sequence(parts):
            return choice(*_begun_by_each(parts)) if is_nullable(term) else term
        case Choice(options):
            return choice(*map(not_empty, options)) if is_nullable(term) else term
        case Repeat(part, least, most):
            if is_nullable(part):
                return repeat(not_empty(part), 1, most)
            return repeat(part, max(1, least), most)
        case Terminal(part):
            return not_empty(part)
        case _:
            return term


def _begun_by_each(parts: tuple[Term, ...]) -> Iterator[Term]:
    """For each part, the texts to which it is the first one that adds characters."""
    if len(parts) > _MAX_EMPTY_PARTS:
        raise ConstraintRejected(
            f"the grammar repeats a sequence of {len(parts)} parts that may all be empty, at most "
            f"{_MAX_EMPTY_PARTS} are possible"
        )
    _check_rewritten(sum(at * _size(part, {}) for at, part in enumerate(parts, 1)))
    for at, part in enumerate(parts):
        yield sequence(not_empty(part), *parts[at + 1 :])


def _check_rewritten(positions: int) -> None:
    if positions > _MAX_REWRITTEN_POSITIONS:
        raise ConstraintRejected(
            f"the grammar is too large: a repetition of parts that may all be empty would have {positions} "
            f"positions, at most {_MAX_REWRITTEN_POSITIONS} are possible; let one of the parts match at "
            "least one character"
        )


def _reachable(rules: Mapping[str, Term]) -> dict[str, Term]:
    if len(rules) > _MAX_RULES:
        raise ConstraintRejected(
            f"grammar: {len(rules)} rules are too many, at most {_MAX_RULES} are possible"
        )
    reached: dict[str, Term] = {}
    due = [ROOT]
    while due:
        name = due.pop()
        if name in reached:
            continue
        if name not in rules:
            raise ConstraintRejected(f"grammar: the rule {_shown(name)} is not defined")
        reached[name] = rules[name]
        due += references(rules[name])
    return {name: term for name, term in rules.items() if name in reached}


def _check_finite(rules: Mapping[str, Term]) -> None:
    finite = rules_where(_is_finite, rules)
    if infinite := [name for name in rules if name not in finite]:
        raise ConstraintRejected(f"grammar: no text of finite length matches the rule {_shown(infinite[0])}")


def _is_finite(term: Term, finite: Collection[str]) -> bool:
    match term:
        case Ref(name):
            return name in finite
        case Sequence(parts):
            return all(_is_finite(part, finite) for part in parts)
        case Choice(options):
            return any(_is_finite(option, finite) for option in options)
        case Repeat(part, least, _):
            return not least or _is_finite(part, finite)
        case _:
            return True


def left_recursive_rule(rules: Mapping[str, Term], nullable: Collection[str]) -> str | None:
    """A rule whose texts may begin with one of its own."""
    firsts = {name: [*_first_rules(term, nullable)] for name, term in rules.items()}
    done: dict[str, None] = {}
    found = (_order(firsts, name, done) for name in rules)
    return next((name for name in found if name is not None), None)


def _first_rules(term: Term, nullable: Collection[str]) -> Iterator[str]:
    """The rules with which a text of the term may begin."""
    match term:
        case Ref(name):
            yield name
        case Sequence(parts):
            for part in parts:
                yield from _first_rules(part, nullable)
                if not is_nullable(part, nullable):
                    return
        case Choice(options):
            for option in options:
                yield from _first_rules(option, nullable)
        case Repeat(part, _, _):
            yield from _first_rules(part, nullable)


def _without_empty_loops(term: Term, nullable: frozenset[str]) -> Term:
    match term:
        case Sequence(parts):
            return sequence(*_each_without_empty_loops(parts, nullable))
        case Choice(options):
            return choice(*_each_without_empty_loops(options, nullable))
        case Repeat(part, least, most):
            part = _without_empty_loops(part, nullable)
            if isinstance(part, Repeat) and _is_same_loop(part, least, most):
                return repeat(part.part, min(part.least, least), None)
            if most == 1 or not is_nullable(part, nullable):
                return repeat(part, least, most)
            if any(True for _ in references(part)):
                raise ConstraintRejected(
                    "grammar: a repetition has a part with rules in it that may all be empty; make one of "
                    "them match at least one character"
                )
            return repeat(not_empty(part), 0, most)
        case Terminal(part):
            return Terminal(_without_empty_loops(part, nullable))
        case _:
            return term


def _each_without_empty_loops(parts: tuple[Term, ...], nullable: frozenset[str]) -> Iterator[Term]:
    added = 0
    for part in parts:
        rewritten = _without_empty_loops(part, nullable)
        added += _size(rewritten, {}) - _size(part, {})
        _check_rewritten(added)
        yield rewritten


def _is_same_loop(inner: Repeat, least: int, most: int | None) -> bool:
    """`(x+)*` is `x*`: the inner loop would only be a second way to match the same text."""
    return inner.most is None and most is None and max(inner.least, least) <= 1


def _inlined(rules: Mapping[str, Term]) -> Term | None:
    """The grammar as one terminal; None if a rule needs itself, or if it would be too large."""
    ordered: dict[str, None] = {}
    if _order({name: [*references(term)] for name, term in rules.items()}, ROOT, ordered) is not None:
        return None
    done: dict[str, Term] = {}
    sizes: dict[str, int] = {}
    for name in ordered:
        sizes[name] = _size(rules[name], sizes)
        if sizes[name] > _MAX_INLINED_POSITIONS:
            return None
        done[name] = _replaced(rules[name], done)
    root = done[ROOT]
    if not is_nullable(root):
        return Terminal(root)
    # An engine's lexer has no empty tokens.
    filled = not_empty(root)
    return EMPTY if filled == NOTHING else choice(EMPTY, Terminal(filled))


def _numbered(rules: Mapping[str, Term]) -> dict[str, Term]:
    """The rules with other names than the client's, which an engine's language may not have or a writer uses
    itself.
    """
    names = {name: ROOT if name == ROOT else f"rule{number}" for number, name in enumerate(rules)}
    return {names[name]: renamed(term, names) for name, term in rules.items()}


def _size(term: Term, sizes: Mapping[str, int]) -> int:
    match term:
        case Ref(name):
            return sizes.get(name, 1)
        case Sequence(parts) | Choice(parts):
            return 1 + sum(_size(part, sizes) for part in parts)
        case Repeat(part, least, most):
            return 1 + _size(part, sizes) * min(MAX_COUNTED_COST, max(1, least, most or 0))
        case Terminal(part):
            return 1 + _size(part, sizes)
        case _:
            return 1


def _order(needs: Mapping[str, Collection[str]], start: str, done: dict[str, None]) -> str | None:
    """Add `start` and all that it needs to `done`, each name after those that it needs. Returns a name that
    needs itself, if there is one.
    """
    path: dict[str, Iterator[str]] = {} if start in done else {start: iter(needs[start])}
    while path:
        name = next(reversed(path))
        needed = next(path[name], None)
        if needed is None:
            del path[name]
            done[name] = None
        elif needed in path:
            return needed
        elif needed not in done:
            path[needed] = iter(needs[needed])
    return None


def _replaced(term: Term, done: Mapping[str, Term]) -> Term:
    match term:
        case Ref(name):
            return done[name]
        case Sequence(parts):
            return sequence(*(_replaced(part, done) for part in parts))
        case Choice(options):
            return choice(*(_replaced(option, done) for option in options))
        case Repeat(part, least, most):
            return repeat(_replaced(part, done), least, most)
        case Terminal(part):
            # The whole becomes one.
            return _replaced(part, done)
        case _:
            return term


def _shown(name: str) -> str:
    return repr(name[:_SHOWN_CHARACTERS])
