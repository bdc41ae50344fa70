"""Writes a grammar in llguidance's Lark dialect, which llama.cpp accepts after a header line."""

from __future__ import annotations

import json

from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
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

HEADER = "%llguidance {}\n"


def lark_text(grammar: Grammar) -> str:
    writer = _Writer()
    rules = [f"{_rule_name(name)}: {writer.written(term)}" for name, term in grammar.rules.items()]
    return HEADER + "\n".join([*rules, *writer.terminals()]) + "\n"


class _Writer:
    """Terminals are tokens of llguidance's lexer; equal ones share one definition."""

    def __init__(self) -> None:
        self._names: dict[Term, str] = {}

    def terminals(self) -> list[str]:
        return [f"{name}: /{regex_text(term)}/" for term, name in self._names.items()]

    def written(self, term: Term) -> str:
        match term:
            case Terminal(part):
                if (characters := literal_of(part)) is not None:
                    return json.dumps(characters).replace("\x7f", "\\u007f")
                return self._names.setdefault(part, f"T{len(self._names)}")
            case Ref(name):
                return _rule_name(name)
            case Sequence(parts):
                return " ".join(map(self._grouped, parts)) if parts else '""'
            case Choice(options):
                return " | ".join(map(self._grouped, options))
            case Repeat(part, least, most):
                return self._grouped(part) + _times(least, most)
            case Chars():
                return self.written(Terminal(term))

    def _grouped(self, term: Term) -> str:
        written = self.written(term)
        return written if isinstance(term, (Terminal, Ref)) else f"({written})"


def _times(least: int, most: int | None) -> str:
    simple = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    return simple.get((least, most)) or f"{{{least},{'' if most is None else most}}}"


def _rule_name(name: str) -> str:
    return "start" if name == ROOT else name


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_ ,:;<>=!@%'\"~`")


def regex_text(term: Term) -> str:
    """A term without rules as a regular expression, in the syntax common to Rust, Python and llguidance."""
    match term:
        case Chars():
            return _class(term)
        case Sequence(parts):
            return "".join(_grouped(part) if isinstance(part, Choice) else regex_text(part) for part in parts)
        case Choice(options):
            return "|".join(map(regex_text, options)) if options else "[^\\x{0}-\\x{10FFFF}]"
        case Repeat(part, least, most):
            return _grouped(part) + _regex_times(least, most)
        case Terminal(part):
            return regex_text(part)
        case Ref():
            raise TypeError("a regular expression has no rules in it")


def _grouped(term: Term) -> str:
    return regex_text(term) if isinstance(term, Chars) else f"(?:{regex_text(term)})"


def _class(chars: Chars) -> str:
    if chars == ANY:
        return "(?s:.)"
    negated = chars.complement()
    if len(chars.ranges) == 1 and chars.ranges[0][0] == chars.ranges[0][1]:
        return _character(chars.ranges[0][0])
    if len(negated.ranges) < len(chars.ranges):
        return f"[^{''.join(map(_range, negated.ranges))}]"
    return f"[{''.join(map(_range, chars.ranges))}]"


def _range(range_: Range) -> str:
    low, high = range_
    return _character(low) if low == high else f"{_character(low)}-{_character(high)}"


def _character(code: int) -> str:
    return chr(code) if chr(code) in _PLAIN else f"\\x{{{code:X}}}"


def _regex_times(least: int, most: int | None) -> str:
    simple = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    if least == most:
        return f"{{{least}}}"
    return simple.get((least, most)) or f"{{{least},{'' if most is None else most}}}"
