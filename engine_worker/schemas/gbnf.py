"""A grammar in GBNF, llama.cpp's own language.

llama.cpp copies what is counted and makes a rule of each optional repetition; it refuses 2,000 of them, and
counts the rules within a group once for each. So a group that is repeated is a rule of its own here, and long
counts are split.
"""

from __future__ import annotations

from collections.abc import Sequence as Several

from engine_worker.schemas.ambiguity import check_ways, leaves_of
from engine_worker.schemas.ebnf import ebnf_text
from engine_worker.schemas.gbnf_cost import check_gbnf
from engine_worker.schemas.grammar import Grammar
from engine_worker.schemas.parallel import check_together
from engine_worker.schemas.terms import (
    Chars,
    Choice,
    Leaf,
    Ref,
    Repeat,
    Sequence,
    Term,
    choice,
    repeat,
    sequence,
    text,
)
from engine_worker.schemas.words import literal_of

# llama.cpp refuses 2,000.
_MOST_COUNTED = 1000
# Fewer texts are as fast one by one.
_FEW_TEXTS = 8
_MOST_SHARED = 64


def gbnf_text(grammar: Grammar) -> str:
    """Raises ConstraintRejected for what llama.cpp would refuse, or take long for."""
    prepared = _Preparation().of(grammar)
    check_gbnf(prepared.rules)
    check_ways(leaves_of(grammar.rules))
    check_together(grammar.rules)
    return ebnf_text(prepared)


class _Preparation:
    """`_parts`: the rules that it adds; equal ones are one."""

    def __init__(self) -> None:
        self._parts: dict[Term, str] = {}
        self._rules: dict[str, Term] = {}

    def of(self, grammar: Grammar) -> Grammar:
        rules = {_name(name): self._term(term) for name, term in grammar.rules.items()}
        return Grammar({**rules, **self._rules})

    def _rule(self, term: Term) -> Term:
        if isinstance(term, (Chars, Ref)):
            return term
        if term not in self._parts:
            self._parts[term] = f"g{len(self._parts)}"
            self._rules[self._parts[term]] = term
        return Ref(self._parts[term])

    def _term(self, term: Term) -> Term:
        match term:
            case Ref(name):
                return Ref(_name(name))
            case Leaf(part):
                return self._term(part) if literal_of(part) is not None else self._rule(self._term(part))
            case Sequence(parts):
                return sequence(*map(self._term, parts))
            case Choice(options):
                return self._choice(options)
            case Repeat(Repeat() as inner, least, most) if (
                single := _single(inner, least, most)
            ) is not None:
                return self._term(single)
            case Repeat(part, least, most):
                return self._repeated(self._rule(self._term(part)), least, most)
            case Chars():
                return term

    def _choice(self, options: Several[Term]) -> Term:
        """llama.cpp follows all options at once: texts share what they begin with."""
        texts = [characters for option in options if (characters := _literal(option)) is not None]
        if len(texts) < _FEW_TEXTS:
            return choice(*map(self._term, options))
        others = [self._term(option) for option in options if _literal(option) is None]
        return choice(self._shared(sorted(set(texts)), 0), *others)

    def _shared(self, texts: Several[str], depth: int) -> Term:
        groups: dict[str, list[str]] = {}
        for each in texts:
            groups.setdefault(each[:1], []).append(each)
        options = []
        for group in groups.values():
            begin = _shared_beginning(group[0], group[-1])
            if len(group) == 1 or depth == _MOST_SHARED:
                options += [text(each) for each in group]
            else:
                rest = [each[len(begin) :] for each in group]
                options.append(sequence(text(begin), self._rule(self._shared(rest, depth + 1))))
        return choice(*options)

    def _repeated(self, part: Term, least: int, most: int | None) -> Term:
        """x{0,2500} is x{0,999} or x{1000} and then x{0,1500}: no text is read in two ways for long."""
        whole, rest = divmod(least, _MOST_COUNTED)
        if whole:
            more = None if most is None else most - whole * _MOST_COUNTED
            thousand = repeat(part, _MOST_COUNTED, _MOST_COUNTED)
            return sequence(*([thousand] * whole), self._repeated(part, rest, more))
        if most is None or most <= _MOST_COUNTED:
            return repeat(part, least, most)
        thousand = repeat(part, _MOST_COUNTED, _MOST_COUNTED)
        tail = self._rule(self._repeated(part, 0, most - _MOST_COUNTED))
        return self._rule(choice(repeat(part, least, _MOST_COUNTED - 1), sequence(thousand, tail)))


def _single(inner: Repeat, least: int, most: int | None) -> Term | None:
    """`(x*)+` as `x*`: llama.cpp refuses to repeat without end what may be empty."""
    if (inner.least, inner.most) == (0, 1):
        return repeat(inner.part, 0, most)
    if inner.most is None and most is None and max(inner.least, least) <= 1:
        return repeat(inner.part, min(inner.least, least), None)
    return None


def _shared_beginning(text: str, other: str) -> str:
    """Of all texts that sort between the two."""
    length = next((at for at, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), None)
    return text[: min(len(text), len(other)) if length is None else length]


def _literal(term: Term) -> str | None:
    return literal_of(term.part if isinstance(term, Leaf) else term)


def _name(name: str) -> str:
    """GBNF's names have no underscores."""
    return name.replace("_", "-")
