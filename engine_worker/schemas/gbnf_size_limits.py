"""Limits on a GBNF grammar's size, since llama.cpp parses and follows it in its decode loop."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Several

from drover.errors import ConstraintRejected
from engine_worker.schemas.terms import Chars, Choice, Ref, Repeat, Sequence, Term, Terminal

# Elements of llama.cpp's rules (characters, references, ends) once counts are expanded.
MAX_ELEMENTS = 60_000
# Alternatives at one position. Each is compared with the whole vocabulary.
MAX_AT_ONCE = 300
# Rules that llama.cpp's check for left recursion enters; it does not memoise.
MAX_ENTERED = 150_000


def check_gbnf(rules: Mapping[str, Term]) -> None:
    """Raises ConstraintRejected for a grammar beyond one of the limits."""
    elements = sum(_elements(term) for term in rules.values())
    _check(elements, MAX_ELEMENTS, "positions")
    beginnings = _Beginnings(rules)
    widest = max(map(beginnings.widest, rules.values()))
    _check(widest, MAX_AT_ONCE, "alternatives at one position")
    entered = sum(beginnings.of(name).entered for name in rules)
    _check(entered, MAX_ENTERED, "alternatives, one within another")


def _check(cost: int, most: int, what: str) -> None:
    if cost > most:
        raise ConstraintRejected(
            f"the grammar of this format is too large for this model's engine: it would have {cost} {what}, "
            f"at most {most} are possible; lower the counts of its repetitions, or make it smaller"
        )


def _elements(term: Term) -> int:
    match term:
        case Chars(ranges):
            return 2 * min(len(ranges), len(term.complement().ranges))
        case Ref():
            return 1
        case Sequence(parts):
            return sum(map(_elements, parts))
        case Choice(options):
            return sum(_elements(option) + 1 for option in options)
        case Repeat(part, least, most):
            one = _elements(part)
            return one * least + (one + 3) * (1 if most is None else most - least)
        case Terminal(part):
            return _elements(part)


class _Beginning:
    """How a term begins. `at_once`: alternatives of the first character; `entered`: rules on the path to
    them; `is_optional`: it may be empty.
    """

    __slots__ = ("at_once", "entered", "is_optional")

    def __init__(self, at_once: int, entered: int, is_optional: bool) -> None:
        self.at_once = at_once
        self.entered = entered
        self.is_optional = is_optional


class _Beginnings:
    """The beginnings of all rules, memoised."""

    def __init__(self, rules: Mapping[str, Term]) -> None:
        self._rules = rules
        self._known: dict[str, _Beginning] = {}
        self._open: set[str] = set()

    def of(self, name: str) -> _Beginning:
        if name in self._known:
            return self._known[name]
        if name in self._open:
            raise ConstraintRejected(
                "the JSON schema refers to itself without anything between, which this model's engine cannot "
                "follow; leave that reference out"
            )
        self._open.add(name)
        begin = self._begin(self._rules[name])
        self._open.discard(name)
        known = self._known[name] = _Beginning(begin.at_once, begin.entered + 1, begin.is_optional)
        return known

    def widest(self, term: Term) -> int:
        """The greatest number of alternatives at any position of a term."""
        inner: Several[Term] = ()
        match term:
            case Sequence(parts):
                at_once = widest = 0
                for part in reversed(parts):
                    begin = self._begin(part)
                    at_once = begin.at_once + (at_once if begin.is_optional else 0)
                    widest = max(widest, at_once, self.widest(part))
                return widest
            case Choice(options):
                inner = options
            case Repeat(part, _, _) | Terminal(part):
                inner = [part]
        return max([self._begin(term).at_once, *map(self.widest, inner)])

    def _begin(self, term: Term) -> _Beginning:
        match term:
            case Chars():
                return _Beginning(1, 0, False)
            case Ref(name):
                return self.of(name)
            case Terminal(part):
                return self._begin(part)
            case Sequence(parts):
                return self._sequence(parts)
            case Choice(options):
                begins = [self._begin(option) for option in options]
                return _Beginning(
                    sum(each.at_once for each in begins),
                    sum(each.entered for each in begins) + 1,
                    any(each.is_optional for each in begins),
                )
            case Repeat(part, least, most):
                begin = self._begin(part)
                if begin.is_optional and most is None:
                    raise ConstraintRejected(
                        "a pattern of this format repeats what may be empty without end, which this model's "
                        "engine cannot follow; write it without the inner or the outer repetition"
                    )
                return self._repeated(begin, least, most)

    def _sequence(self, parts: Several[Term]) -> _Beginning:
        at_once = entered = 0
        for part in parts:
            begin = self._begin(part)
            at_once, entered = at_once + begin.at_once, entered + begin.entered
            if not begin.is_optional:
                return _Beginning(at_once, entered, False)
        return _Beginning(at_once, entered, True)

    def _repeated(self, part: _Beginning, least: int, most: int | None) -> _Beginning:
        """Each optional repetition is a rule, which the check for left recursion enters by itself too."""
        optional = 1 if most is None else most - least
        if part.is_optional:
            count = least + optional
            return _Beginning(part.at_once * count, (part.entered + 1) * count * (optional + 1), True)
        return _Beginning(part.at_once, (part.entered + 1) * (optional + 1), least == 0)
