"""What a term costs an engine, and how long the texts are that it matches."""

from __future__ import annotations

from engine_worker.schemas.terms import Chars, Choice, Leaf, Ref, Repeat, Sequence, Term


def cost_of(term: Term) -> int:
    """Positions when every counted repetition is written out: bounds within bounds multiply."""
    match term:
        case Chars() | Ref():
            return 1
        case Leaf(part):
            return cost_of(part)
        case Sequence(parts):
            return sum(map(cost_of, parts))
        case Choice(options):
            return 1 + sum(map(cost_of, options))
        case Repeat(part, least, most):
            return 1 + cost_of(part) * max(1, least, most or 0)


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
