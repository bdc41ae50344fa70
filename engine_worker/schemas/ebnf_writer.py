"""Writes a grammar in the EBNF that xgrammar and llama.cpp share; for the latter
gbnf_writer.py prepares it.
"""

from __future__ import annotations

from engine_worker.schemas.schema_to_grammar import Grammar
from engine_worker.schemas.terms import (
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

_PLAIN = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_ ,:;<>=!@%'~`/+*?(){}.#$&|"
)


def ebnf_text(grammar: Grammar) -> str:
    writer = _Writer()
    rules = [f"{name} ::= {writer.written(term)}" for name, term in grammar.rules.items()]
    return "\n".join([*rules, *writer.terminals()]) + "\n"


class _Writer:
    """Equal terminals share one rule."""

    def __init__(self) -> None:
        self._names: dict[Term, str] = {}

    def terminals(self) -> list[str]:
        return [f"{name} ::= {self.written(term)}" for term, name in list(self._names.items())]

    def written(self, term: Term) -> str:
        if (characters := literal_of(term)) is not None:
            return f'"{"".join(map(_in_quotes, characters))}"'
        match term:
            case Chars():
                return _class(term)
            case Terminal(part):
                if literal_of(part) is not None:
                    return self.written(part)
                return self._names.setdefault(part, f"t{len(self._names)}")
            case Ref(name):
                return name
            case Sequence(parts):
                return " ".join(map(self._grouped, _joined(parts))) if parts else '""'
            case Choice(options):
                return " | ".join(map(self._grouped, options))
            case Repeat(part, least, most):
                return self._grouped(part) + _times(least, most)

    def _grouped(self, term: Term) -> str:
        is_one = isinstance(term, (Terminal, Ref, Chars)) or literal_of(term) is not None
        return self.written(term) if is_one else f"({self.written(term)})"


def _joined(parts: tuple[Term, ...]) -> list[Term]:
    """The parts with adjacent characters joined into one text."""
    joined: list[Term] = []
    for part in parts:
        if joined and literal_of(part) is not None and literal_of(joined[-1]) is not None:
            before = joined.pop()
            joined.append(Sequence((before, part)))
        else:
            joined.append(part)
    return joined


def _class(chars: Chars) -> str:
    negated = chars.complement()
    # xgrammar supports only ASCII in negated classes.
    if negated.ranges and negated.ranges[-1][1] < 0x80:
        return f"[^{''.join(map(_range, negated.ranges))}]"
    return f"[{''.join(map(_range, chars.ranges))}]"


def _range(range_: Range) -> str:
    low, high = range_
    return _in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}"


def _in_quotes(character: str) -> str:
    return character if character in _PLAIN else _escape(ord(character))


def _in_class(code: int) -> str:
    return chr(code) if chr(code) in _PLAIN else _escape(code)


def _escape(code: int) -> str:
    # Not \\x: xgrammar reads all following hexadecimal digits as part of it.
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _times(least: int, most: int | None) -> str:
    simple = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    if least == most:
        return f"{{{least}}}"
    return simple.get((least, most)) or f"{{{least},{'' if most is None else most}}}"
