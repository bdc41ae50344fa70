"""What a term costs an engine, and how long the texts are that it matches."""

from __future__ import annotations

from collections.abc import Mapping

from engine_worker.schemas.terms import Chars, Choice, Leaf, Ref, Repeat, Sequence, Term
from engine_worker.schemas.words import literal_of

# A count beyond it costs no more than it: engines count, they do not copy. But counts within counts multiply.
COUNTED = 50
# Characters of a fixed text that cost as much as one position with a choice.
_OF_A_TEXT = 8


def cost_of(rules: Mapping[str, Term]) -> int:
    """Positions of a grammar. What several rules share as one token counts once."""
    leaves: set[Leaf] = set()
    return sum(_positions(rule, leaves) for rule in rules.values()) + sum(
        _positions(leaf.part, set()) for leaf in leaves
    )


def _positions(term: Term, leaves: set[Leaf]) -> int:
    match term:
        case Chars() | Ref():
            return 1
        case Leaf():
            leaves.add(term)
            return 1
        case Sequence(parts):
            if (characters := literal_of(term)) is not None:
                return 1 + len(characters) // _OF_A_TEXT
            return sum(_positions(part, leaves) for part in parts)
        case Choice(options):
            return 1 + sum(_positions(option, leaves) for option in options)
        case Repeat(part, least, most):
            return 1 + _positions(part, leaves) * min(COUNTED, max(1, least, most or 0))


def length_of(term: Term) -> tuple[int, int | None]:
    """The fewest and the most characters; None: without end. Not of rules."""
    match term:
        case Chars():
            return 1, 1
        case Sequence(parts):
            lengths = [length_of(part) for part in parts]
            return sum(least for least, _ in lengths), _sum([most for _, most in lengths])
        case Choice(options):
            lengths = [length_of(option) for option in options]
            ends = [most for _, most in lengths if most is not None]
            return (
                min((least for least, _ in lengths), default=0),
                max(ends, default=0) if len(ends) == len(lengths) else None,
            )
        case Repeat(part, least, most):
            shortest, longest = length_of(part)
            return shortest * least, None if most is None or longest is None else longest * most
        case Leaf(part):
            return length_of(part)
        case Ref():
            raise TypeError("a rule has no length of its own")


def _sum(lengths: list[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None
