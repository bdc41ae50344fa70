"""Writes a grammar in GBNF, llama.cpp's language.

llama.cpp expands counted repetitions into copies and makes a rule of each optional one; it rejects 2,000 of
them, and counts the rules inside a group once per copy. So a repeated group becomes a rule of its own, and
long counts are split.
"""

from __future__ import annotations

from collections.abc import Sequence as Several

from engine_worker.schemas.ebnf_writer import ebnf_text
from engine_worker.schemas.gbnf_alternatives_limit import check_alternatives
from engine_worker.schemas.gbnf_ambiguity_limit import check_ambiguity, terminals_of
from engine_worker.schemas.gbnf_size_limits import check_gbnf
from engine_worker.schemas.schema_to_grammar import Grammar
from engine_worker.schemas.terms import (
    Chars,
    Choice,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    choice,
    literal_of,
    repeat,
    sequence,
    text,
)

# llama.cpp rejects 2,000.
_MAX_COUNTED = 1000
# Below this number, sharing prefixes is not faster.
_FEW_TEXTS = 8
_MAX_SHARED_DEPTH = 64


def gbnf_text(grammar: Grammar) -> str:
    """The grammar as text. Raises ConstraintRejected if llama.cpp would reject it or be slow with it."""
    prepared = _Preparation().of(grammar)
    check_gbnf(prepared.rules)
    check_ambiguity(terminals_of(grammar.rules))
    check_alternatives(grammar.rules)
    return ebnf_text(prepared)


class _Preparation:
    """Rewrites rules for llama.cpp. `_parts`: names of the added rules; equal terms share one."""

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
            case Terminal(part):
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
        """Texts share their prefixes, since llama.cpp follows all options at once."""
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
            if len(group) == 1 or depth == _MAX_SHARED_DEPTH:
                options += [text(each) for each in group]
            else:
                rest = [each[len(begin) :] for each in group]
                options.append(sequence(text(begin), self._rule(self._shared(rest, depth + 1))))
        return choice(*options)

    def _repeated(self, part: Term, least: int, most: int | None) -> Term:
        """Split long counts: x{0,2500} is x{0,999} or x{1000} followed by x{0,1500}, which is unambiguous."""
        whole, rest = divmod(least, _MAX_COUNTED)
        if whole:
            more = None if most is None else most - whole * _MAX_COUNTED
            thousand = repeat(part, _MAX_COUNTED, _MAX_COUNTED)
            return sequence(*([thousand] * whole), self._repeated(part, rest, more))
        if most is None or most <= _MAX_COUNTED:
            return repeat(part, least, most)
        thousand = repeat(part, _MAX_COUNTED, _MAX_COUNTED)
        tail = self._rule(self._repeated(part, 0, most - _MAX_COUNTED))
        return self._rule(choice(repeat(part, least, _MAX_COUNTED - 1), sequence(thousand, tail)))


def _single(inner: Repeat, least: int, most: int | None) -> Term | None:
    """`(x*)+` as `x*`: llama.cpp rejects unbounded repetition of a part that may be empty."""
    if (inner.least, inner.most) == (0, 1):
        return repeat(inner.part, 0, most)
    if inner.most is None and most is None and max(inner.least, least) <= 1:
        return repeat(inner.part, min(inner.least, least), None)
    return None


def _shared_beginning(text: str, other: str) -> str:
    """The prefix that all texts sorted between the two have in common."""
    length = next((at for at, (one, two) in enumerate(zip(text, other, strict=False)) if one != two), None)
    return text[: min(len(text), len(other)) if length is None else length]


def _literal(term: Term) -> str | None:
    return literal_of(term.part if isinstance(term, Terminal) else term)


def _name(name: str) -> str:
    """A rule name without underscores, which GBNF does not allow."""
    return name.replace("_", "-")
