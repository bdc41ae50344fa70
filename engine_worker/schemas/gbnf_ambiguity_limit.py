"""Limit on a GBNF grammar's ambiguity: the number of ways to match one text.

llama.cpp follows all of them for each token. Nested counted repetitions of parts that may be empty have so
many that its decode loop stalls.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from drover.errors import ConstraintRejected
from engine_worker.schemas.terms import Chars, Choice, Ref, Repeat, Sequence, Term, Terminal

# Characters of a long token, and the ways to match them.
_TOKEN_LENGTH = 12
MAX_WAYS = 5_000
# Repetitions beyond a token's length add no ways.
_COUNTED = _TOKEN_LENGTH + 4
_MAX_LINKS = 100_000


def check_ambiguity(terms: Iterable[Term]) -> None:
    """Raises ConstraintRejected for a term (without rules) with more than MAX_WAYS ways."""
    for term in terms:
        if ways(term) > MAX_WAYS:
            raise ConstraintRejected(
                "a pattern of this format has too many ways to match one text for this model's engine; write "
                "it without repetitions of what may be empty or repeats itself"
            )


def ways(term: Term) -> int:
    """An upper bound of the ways to match a text of a token's length; MAX_WAYS + 1 for any larger number."""
    return _Positions().ways(term)


@dataclass(slots=True)
class _Ends:
    """Positions where a part may begin and end. `is_optional`: it may be empty."""

    first: set[int] = field(default_factory=set)
    last: set[int] = field(default_factory=set)
    is_optional: bool = True


class _Positions:
    """The position automaton of a term: one state per character position, and the states that may follow."""

    def __init__(self) -> None:
        self._chars: list[Chars] = []
        self._next: list[set[int]] = []
        self._links = 0

    def ways(self, term: Term) -> int:
        ends = self._of(term)
        if max(self._links, len(self._chars)) > _MAX_LINKS:
            return MAX_WAYS + 1
        together = _together(set(self._chars))
        ways = [1] * len(self._chars)
        most = self._most(ends.first, ways, together)
        for _ in range(_TOKEN_LENGTH - 1):
            ways = [self._most(following, ways, together) for following in self._next]
            # A token may also begin inside the text.
            most = max(most, self._most(ends.first, ways, together), max(ways, default=0))
            if most > MAX_WAYS:
                break
        return most

    def _most(self, following: set[int], ways: list[int], together: list[frozenset[Chars]]) -> int:
        sums: dict[Chars, int] = {}
        for position in following:
            chars = self._chars[position]
            sums[chars] = sums.get(chars, 0) + ways[position]
        if len(sums) < 2:
            return min(MAX_WAYS + 1, max(sums.values(), default=0))
        most = max(sum(sums.get(chars, 0) for chars in group) for group in together)
        return min(MAX_WAYS + 1, most)

    def _of(self, term: Term) -> _Ends:
        match term:
            case Chars():
                self._chars.append(term)
                self._next.append(set())
                position = len(self._chars) - 1
                return _Ends({position}, {position}, False)
            case Sequence(parts):
                ends = _Ends()
                for part in parts:
                    ends = self._then(ends, self._of(part))
                return ends
            case Choice(options):
                each = [self._of(option) for option in options]
                return _Ends(
                    set().union(*(ends.first for ends in each)),
                    set().union(*(ends.last for ends in each)),
                    any(ends.is_optional for ends in each),
                )
            case Repeat(part, least, most):
                return self._repeated(part, least, most)
            case Terminal(part):
                return self._of(part)
            case Ref():
                raise TypeError("a rule has no positions")

    def _repeated(self, part: Term, least: int, most: int | None) -> _Ends:
        ends = _Ends()
        for _ in range(min(least, _COUNTED)):
            ends = self._then(ends, self._of(part))
        return self._then(ends, self._perhaps(part, None if most is None else most - least))

    def _perhaps(self, part: Term, most: int | None) -> _Ends:
        """Optional repetitions, each of which follows the one before it."""
        chain = _Ends()
        before: set[int] = set()
        for number in range(1 if most is None else min(most, _COUNTED)):
            if max(self._links, len(self._chars)) > _MAX_LINKS:
                break
            each = self._of(part)
            self._link(each.last if most is None else before, each.first)
            if number == 0 or chain.is_optional:
                chain.first |= each.first
            chain.last |= each.last
            chain.is_optional = each.is_optional
            before = before | each.last if each.is_optional else each.last
        chain.is_optional = True
        return chain

    def _then(self, ends: _Ends, more: _Ends) -> _Ends:
        self._link(ends.last, more.first)
        return _Ends(
            ends.first | more.first if ends.is_optional else ends.first,
            ends.last | more.last if more.is_optional else more.last,
            ends.is_optional and more.is_optional,
        )

    def _link(self, last: set[int], first: set[int]) -> None:
        self._links += len(last) * len(first)
        if self._links <= _MAX_LINKS:
            for position in last:
                self._next[position] |= first


def _together(classes: set[Chars]) -> list[frozenset[Chars]]:
    """Groups of classes that share a character. The largest overlaps are at the beginnings of ranges."""
    begins = {low for chars in classes for low, _ in chars.ranges}
    lows = {chars: [low for low, _ in chars.ranges] for chars in classes}

    def has(chars: Chars, code: int) -> bool:
        at = bisect_right(lows[chars], code) - 1
        return at >= 0 and code <= chars.ranges[at][1]

    return list({frozenset(chars for chars in classes if has(chars, code)) for code in begins})


def terminals_of(rules: Mapping[str, Term]) -> set[Term]:
    """The terminals in rules."""
    found: set[Term] = set()
    waiting = list(rules.values())
    while waiting:
        match waiting.pop():
            case Terminal() as terminal:
                found.add(terminal)
            case Sequence(parts):
                waiting += parts
            case Choice(options):
                waiting += options
            case Repeat(part, _, _):
                waiting.append(part)
            case _:
                pass
    return found
