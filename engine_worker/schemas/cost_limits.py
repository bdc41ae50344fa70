"""Cost of grammars for any engine, in positions: of Drover's own, and of EBNF that a client wrote.

Also the length of the texts that a term matches.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from drover.errors import ConstraintRejected
from engine_worker.schemas.terms import Chars, Choice, Ref, Repeat, Sequence, Term, Terminal, literal_of

# Larger counts cost no more: engines count and do not copy. But nested counts multiply.
MAX_COUNTED_COST = 50
# Characters of a fixed text that cost as much as one position.
_CHARACTERS_PER_POSITION = 8


def cost_of(rules: Mapping[str, Term]) -> int:
    """Positions of a grammar. A terminal that several rules share counts once."""
    terminals: set[Terminal] = set()
    return sum(_positions(rule, terminals) for rule in rules.values()) + sum(
        _positions(terminal.part, set()) for terminal in terminals
    )


def _positions(term: Term, terminals: set[Terminal]) -> int:
    match term:
        case Chars() | Ref():
            return 1
        case Terminal():
            terminals.add(term)
            return 1
        case Sequence(parts):
            if (characters := literal_of(term)) is not None:
                return 1 + len(characters) // _CHARACTERS_PER_POSITION
            return sum(_positions(part, terminals) for part in parts)
        case Choice(options):
            return 1 + sum(_positions(option, terminals) for option in options)
        case Repeat(part, least, most):
            return 1 + _positions(part, terminals) * min(MAX_COUNTED_COST, max(1, least, most or 0))


def length_of(term: Term) -> tuple[int, int | None]:
    """The least and the greatest number of characters that a term without rules matches; None: unbounded."""
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
        case Terminal(part):
            return length_of(part)
        case Ref():
            raise TypeError("a rule has no length of its own")


def _sum(lengths: list[int | None]) -> int | None:
    known = [length for length in lengths if length is not None]
    return sum(known) if len(known) == len(lengths) else None


MAX_EBNF_CHARACTERS = 128 * 1024
# Possessive, and texts and classes also without their end: looking for it again from each character of a long
# line would hold the interpreter for minutes.
_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*+"?|\[(?:[^\]\\\n]|\\.)*+\]?|\{\s*+(\d{1,9})?\s*+(,)?\s*+(\d{1,9})?\s*+\}'
    r"|[()*+?|]|[\w-]+|#[^\n]*"
)


def check_ebnf(text: str, most: int) -> None:
    """Check a client's EBNF by its text, which the engine parses. `most`: positions, as for Drover's
    grammars.

    Raises ConstraintRejected for too large a grammar; malformed EBNF is left to the engine.
    """
    if len(text) > MAX_EBNF_CHARACTERS:
        raise ConstraintRejected(
            f"the EBNF is too large: it has {len(text)} characters, "
            f"at most {MAX_EBNF_CHARACTERS} are possible"
        )
    if (cost := _ebnf_positions(text)) > most:
        raise ConstraintRejected(
            f"the EBNF is too large: its rules would have {cost} positions, at most {most} are possible; "
            "lower the counts of its repetitions"
        )


def _ebnf_positions(text: str) -> int:
    """`sums`: costs of the open groups, the innermost last; `item`: cost of the last item, which a count
    repeats.
    """
    sums, item = [0], 0
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark.startswith("#"):
            continue
        if mark == "(":
            sums.append(0)
            item = 0
        elif mark == ")" and len(sums) > 1:
            item = sums.pop()
            sums[-1] += item
        elif mark.startswith("{"):
            count = min(MAX_COUNTED_COST, max(1, int(token[1] or 0), int(token[3] or 0)))
            sums[-1] += item * (count - 1)
            item *= count
        elif mark not in ("*", "+", "?", "|"):
            item = 1
            sums[-1] += item
    return sum(sums)
