"""Text up to the first of several texts, as expressions of one automaton that engines' lexers can have.

A rule for each character would be the same language, but engines' parsers are slow with it or give up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover.errors import ConstraintRejected
from engine_worker.schemas.grammar_checks import not_empty
from engine_worker.schemas.terms import (
    EMPTY,
    NOTHING,
    Chars,
    Choice,
    Repeat,
    Term,
    Terminal,
    choice,
    repeat,
    sequence,
    text,
)
from engine_worker.schemas.terms import Sequence as SequenceTerm

_MAX_POSITIONS = 4000


@dataclass(frozen=True, slots=True)
class TextUntil:
    """`ended`: for each of the texts, any text up to it, which is the first of them; `free`: text without
    any.
    """

    ended: Mapping[str, Term]
    free: Term

    @classmethod
    def first_of(cls, ends: Sequence[str]) -> TextUntil:
        """Raises ConstraintRejected where the expressions would be too large."""
        ways = _ways(ends)
        # The longest beginnings are eliminated first: few states lead to them.
        for state in [state for state in reversed(ways) if state]:
            _remove(state, ways)
        start = ways[""]
        loop = repeat(start.pop("", NOTHING))
        whole = {target: sequence(loop, term) for target, term in start.items()}
        free = whole.pop(_STOP)
        for term in (free, *whole.values()):
            if _positions(term, {}) > _MAX_POSITIONS:
                raise ConstraintRejected("structural_tag: its triggers are too many or too long; use fewer")
        filled = not_empty(free)
        ended = {target[0]: Terminal(term) for target, term in whole.items()}
        return cls(ended, choice(EMPTY, Terminal(filled)))


_STOP: tuple[str, ...] = ()
"""The target where text may stop; the end of one of the texts is a tuple of it."""
_Ways = dict[str, dict[str | tuple[str, ...], Term]]
"""For each state, the longest beginning of a text that was read last: what leads to which state or target."""


def _ways(ends: Sequence[str]) -> _Ways:
    alphabet = sorted({character for end in ends for character in end})
    others = Chars.text("".join(alphabet)).complement()
    known = {end[:length] for end in ends for length in range(len(end))}
    states = sorted(known, key=lambda state: (len(state), state))
    ways: _Ways = {}
    for state in states:
        leads: dict[str | tuple[str, ...], Term] = {_STOP: EMPTY, "": others}
        for character in alphabet:
            seen = state + character
            matched = next((end for end in ends if seen.endswith(end)), None)
            target: str | tuple[str, ...] = (
                next(seen[at:] for at in range(len(seen) + 1) if seen[at:] in known)
                if matched is None
                else (matched,)
            )
            leads[target] = choice(leads.get(target, NOTHING), text(character))
        ways[state] = leads
    return ways


def _remove(state: str, ways: _Ways) -> None:
    """Eliminate the state: each way into it becomes ways to where it leads."""
    own = ways.pop(state)
    loop = repeat(own.pop(state, NOTHING))
    for leads in ways.values():
        if (before := leads.pop(state, None)) is None:
            continue
        for target, after in own.items():
            leads[target] = choice(leads.get(target, NOTHING), sequence(before, loop, after))


def _positions(term: Term, known: dict[int, int]) -> int:
    if (found := known.get(id(term))) is not None:
        return found
    match term:
        case SequenceTerm(parts) | Choice(parts):
            count = 1 + sum(_positions(part, known) for part in parts)
        case Repeat(part, _, _):
            count = 1 + _positions(part, known)
        case _:
            count = 1
    known[id(term)] = count
    return count
