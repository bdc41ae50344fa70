"""Random texts that a grammar makes."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import Chars, Choice, Ref, Repeat, Sequence, Term, Terminal

_MORE = 3
# Beyond it the shortest way is taken.
_DEEP = 14


def sampled(grammar: Grammar, random: Random) -> str:
    return _text(grammar.rules[ROOT], grammar.rules, random, 0)


def _text(term: Term, rules: Mapping[str, Term], random: Random, depth: int) -> str:
    match term:
        case Chars(ranges):
            low, high = random.choice(ranges)
            return chr(random.randint(low, min(high, low + 60)))
        case Ref(name):
            return _text(rules[name], rules, random, depth + 1)
        case Terminal(part):
            return _text(part, rules, random, depth)
        case Sequence(parts):
            return "".join(_text(part, rules, random, depth) for part in parts)
        case Choice(options):
            short = [option for option in options if isinstance(option, (Terminal, Chars))]
            chosen = random.choice(short if depth > _DEEP and short else options)
            return _text(chosen, rules, random, depth + 1)
        case Repeat(part, least, most):
            longest = least + (0 if depth > _DEEP else _MORE)
            count = random.randint(least, longest if most is None else min(most, longest))
            return "".join(_text(part, rules, random, depth + 1) for _ in range(count))
