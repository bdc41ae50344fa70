"""What a grammar costs that a client wrote in EBNF, by its text alone: the engine reads it."""

from __future__ import annotations

import re

from drover.errors import ConstraintRejected
from engine_worker.schemas.cost import COUNTED

MAX_CHARACTERS = 128 * 1024
_TOKEN = re.compile(
    r'"(?:[^"\\\n]|\\.)*"|\[(?:[^\]\\\n]|\\.)*\]|\{\s*(\d{1,9})?\s*(,)?\s*(\d{1,9})?\s*\}|[()*+?|]|[\w-]+|#[^\n]*'
)


def check_ebnf(text: str, most: int) -> None:
    """`most`: positions, as of our own grammars. Raises ConstraintRejected; what is no EBNF is left to the
    engine.
    """
    if len(text) > MAX_CHARACTERS:
        raise ConstraintRejected(
            f"the EBNF is too large: it has {len(text)} characters, at most {MAX_CHARACTERS} are possible"
        )
    if (cost := _positions(text)) > most:
        raise ConstraintRejected(
            f"the EBNF is too large: its rules would have {cost} positions, at most {most} are possible; "
            "lower the counts of its repetitions"
        )


def _positions(text: str) -> int:
    """Each group's sum so far, the innermost last; `item`: the last one, which a count repeats."""
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
            count = min(COUNTED, max(1, int(token[1] or 0), int(token[3] or 0)))
            sums[-1] += item * (count - 1)
            item *= count
        elif mark not in ("*", "+", "?", "|"):
            item = 1
            sums[-1] += item
    return sum(sums)
