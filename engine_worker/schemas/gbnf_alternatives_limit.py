"""Limit on alternatives of a GBNF grammar that begin with the same text, which llama.cpp follows in parallel.

Alternatives that refer to themselves double with each nesting level of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Several
from dataclasses import dataclass
from itertools import pairwise

from drover.errors import ConstraintRejected
from engine_worker.schemas.terms import (
    ANY,
    Chars,
    Choice,
    Range,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    literal_of,
)

MAX_TOGETHER = 64
_MAX_ROUNDS = 60
_MAX_PREFIX = 200
_DEPTH = 8
_SPACE = Ref("space")


def check_alternatives(rules: Mapping[str, Term]) -> None:
    """Raises ConstraintRejected for more than MAX_TOGETHER parallel alternatives."""
    parallel = _Parallel(rules)
    for _ in range(_MAX_ROUNDS):
        if not parallel.grows():
            return
        if parallel.most > MAX_TOGETHER:
            break
    raise ConstraintRejected(
        "this format has too many alternatives that begin alike for this model's engine; put a property "
        "first that tells them apart, with a `const` or `enum`"
    )


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The prefix of a term, without white space. `following`: the characters that may come next; None if the
    term ends there.
    """

    text: str
    following: Chars | None = None

    def is_like(self, other: _Prefix) -> bool:
        shorter, longer = sorted((self, other), key=lambda prefix: len(prefix.text))
        if not longer.text.startswith(shorter.text) or shorter.following is None:
            return longer.text.startswith(shorter.text)
        if len(longer.text) > len(shorter.text):
            return ord(longer.text[len(shorter.text)]) in shorter.following
        return longer.following is None or bool(shorter.following.both(longer.following).ranges)


class _Parallel:
    """For each rule, how many alternatives llama.cpp follows in parallel."""

    def __init__(self, rules: Mapping[str, Term]) -> None:
        self._rules = rules
        self._together = dict.fromkeys(rules, 1)
        self._prefixes: dict[Term, _Prefix] = {}
        self._options: dict[Choice, tuple[Term, ...]] = {}
        self._groups: dict[Choice, Several[Several[Term]]] = {}

    @property
    def most(self) -> int:
        return max(self._together.values())

    def grows(self) -> bool:
        has_grown = False
        for name, term in self._rules.items():
            together = self._of(term)
            if together > self._together[name]:
                self._together[name] = together
                has_grown = True
                if together > MAX_TOGETHER:
                    break
        return has_grown

    def _of(self, term: Term) -> int:
        match term:
            case Ref(name):
                return self._together[name]
            case Sequence(parts):
                return max(map(self._of, parts), default=1)
            case Choice():
                if term not in self._groups:
                    self._groups[term] = self._alike(self._flat(term))
                return max((sum(map(self._of, group)) for group in self._groups[term]), default=1)
            case Repeat(part, _, _):
                return self._of(part)
            case Chars() | Terminal():
                return 1

    def _flat(self, term: Choice, within: frozenset[Term] = frozenset()) -> tuple[Term, ...]:
        """The options, with nested choices expanded."""
        if term not in self._options:
            flat: dict[Term, None] = {}
            for option in term.options:
                inner = self._rules[option.name] if isinstance(option, Ref) else option
                if isinstance(inner, Choice) and inner not in within:
                    flat |= dict.fromkeys(self._flat(inner, within | {term}))
                else:
                    flat[option] = None
            self._options[term] = tuple(flat)
        return self._options[term]

    def _alike(self, options: Several[Term]) -> Several[Several[Term]]:
        """For each option, the group of options (itself included) that may begin with the same text."""
        prefixes = sorted(
            ((self._prefix(option), option) for option in options), key=lambda pair: pair[0].text
        )
        are_apart = all(not two.text.startswith(one.text) for (one, _), (two, _) in pairwise(prefixes))
        if are_apart:
            return [[option] for option in options]
        return [[option for prefix, option in prefixes if prefix.is_like(own)] for own, _ in prefixes]

    def _prefix(self, term: Term) -> _Prefix:
        if term not in self._prefixes:
            self._prefixes[term] = self._read_prefix(term, _DEPTH)
        return self._prefixes[term]

    def _read_prefix(self, term: Term, depth: int) -> _Prefix:
        """`depth`: number of rules that may still be entered."""
        if (characters := literal_of(term)) is not None:
            return _Prefix(characters)
        match term:
            case Chars():
                return _Prefix("", term)
            case Terminal(part):
                return self._read_prefix(part, depth)
            case Ref(name):
                if term == _SPACE:
                    return _Prefix("")
                return self._read_prefix(self._rules[name], depth - 1) if depth else _Prefix("", ANY)
            case Sequence(parts):
                return self._prefix_of(parts, depth)
            case Choice(options):
                return _Prefix("", _first([self._read_prefix(option, depth) for option in options]))
            case Repeat(part, least, _):
                return self._read_prefix(part, depth) if least else _Prefix("", ANY)

    def _prefix_of(self, parts: Several[Term], depth: int) -> _Prefix:
        text = ""
        for at, part in enumerate(parts):
            is_optional = isinstance(part, Repeat) and not part.least
            if text and (is_optional or isinstance(part, Choice)):
                return _Prefix(text, ANY)
            if isinstance(part, Repeat) and is_optional:
                rest = self._prefix_of(parts[at + 1 :], depth)
                return _Prefix("", _first([self._read_prefix(part.part, depth), rest]))
            prefix = self._read_prefix(part, depth)
            text += prefix.text
            if prefix.following is not None or len(text) > _MAX_PREFIX:
                return _Prefix(text, prefix.following or ANY)
        return _Prefix(text)


def _first(prefixes: Several[_Prefix]) -> Chars:
    ranges: list[Range] = []
    for prefix in prefixes:
        if prefix.text:
            ranges.append((ord(prefix.text[0]), ord(prefix.text[0])))
        else:
            ranges += (prefix.following or ANY).ranges
    return Chars.of(ranges)
