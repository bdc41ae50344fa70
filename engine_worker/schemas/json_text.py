"""From a string's characters to how JSON writes them."""

from __future__ import annotations

import json

from engine_worker.schemas.terms import (
    ANY,
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

# Characters that JSON writes with a backslash, and the letter behind it.
_ESCAPES = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_RAW = Chars.of([(0, 0x1F), (ord('"'), ord('"')), (ord("\\"), ord("\\"))]).complement()
_HEX = Chars.text("0123456789abcdefABCDEF")
_QUOTE = text('"')
_BACKSLASH = text("\\")


def _halves(second: str) -> Term:
    r"""`\uD8…` with the digits that make one half of a character."""
    return sequence(text("\\u"), Chars.text("dD"), Chars.text(second), repeat(_HEX, 2, 2))


# Half of a character is none, so the halves come in pairs, as JSON has them.
_BY_NUMBER = choice(
    sequence(text("\\u"), _HEX.minus(Chars.text("dD")), repeat(_HEX, 3, 3)),
    _halves("01234567"),
    sequence(_halves("89abAB"), _halves("cdefCDEF")),
)
ANY_CHARACTER = choice(_RAW, sequence(_BACKSLASH, Chars.text('"\\/bfnrt')), _BY_NUMBER)


def string(content: Term) -> Term:
    """`content`: over the characters that the string has, escapes undone."""
    return Leaf(sequence(_QUOTE, _written(content), _QUOTE))


def any_string(least: int = 0, most: int | None = None) -> Term:
    return Leaf(sequence(_QUOTE, repeat(ANY_CHARACTER, least, most), _QUOTE))


def literal(value: object) -> Term:
    """JSON text of a value that is no object and no array. Numbers stay as they were written."""
    return Leaf(text(json_literal(value)))


def json_literal(value: object) -> str:
    """UTF-8 as it is; a surrogate without its other half keeps its escape."""
    if value is None or isinstance(value, (bool, str)):
        written = json.dumps(value, ensure_ascii=False)
        return "".join(f"\\u{ord(each):04x}" if "\ud800" <= each <= "\udfff" else each for each in written)
    return str(value)


def _written(content: Term) -> Term:
    match content:
        case Chars() if content == ANY:
            return ANY_CHARACTER
        case Chars():
            return _characters(content)
        case Sequence(parts):
            return sequence(*(_written(part) for part in parts))
        case Choice(options):
            return choice(*(_written(option) for option in options))
        case Repeat(part, least, most):
            return repeat(_written(part), least, most)
        case Ref() | Leaf():
            raise TypeError("a string has no rules in it")


def _characters(wanted: Chars) -> Term:
    """Not the escapes by number: those would need a set of numbers for each set of characters."""
    escapes = Chars.text("".join(letter for each, letter in _ESCAPES.items() if ord(each) in wanted))
    raw = wanted.both(_RAW)
    options: list[Term] = [raw] if raw.ranges else []
    if escapes.ranges:
        options.append(sequence(_BACKSLASH, escapes))
    return choice(*options)
