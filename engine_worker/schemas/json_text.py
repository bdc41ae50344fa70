"""Terms for JSON texts: literals, strings with their escapes, and names of additional properties."""

from __future__ import annotations

import json
from collections.abc import Sequence as Several

from engine_worker.schemas.patterns import read_pattern
from engine_worker.schemas.terms import (
    ANY,
    EMPTY,
    NOTHING,
    Chars,
    Choice,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    choice,
    repeat,
    sequence,
    text,
)

# Characters that JSON escapes with a backslash and a letter.
_ESCAPES = {'"': '"', "\\": "\\", "\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t"}
_RAW = Chars.of([(0, 0x1F), (ord('"'), ord('"')), (ord("\\"), ord("\\"))]).complement()
_HEX = Chars.text("0123456789abcdefABCDEF")
_QUOTE = text('"')
_BACKSLASH = text("\\")


def _halves(second: str) -> Term:
    r"""`\uD8…`: one surrogate."""
    return sequence(text("\\u"), Chars.text("dD"), Chars.text(second), repeat(_HEX, 2, 2))


# Surrogates only in pairs: one alone is not a character.
_BY_NUMBER = choice(
    sequence(text("\\u"), _HEX.minus(Chars.text("dD")), repeat(_HEX, 3, 3)),
    _halves("01234567"),
    sequence(_halves("89abAB"), _halves("cdefCDEF")),
)
ANY_CHARACTER = choice(_RAW, sequence(_BACKSLASH, Chars.text('"\\/bfnrt')), _BY_NUMBER)


def string(content: Term) -> Term:
    """A JSON string. `content`: a term for its characters, unescaped."""
    return Terminal(sequence(_QUOTE, written(content), _QUOTE))


def any_string(least: int = 0, most: int | None = None) -> Term:
    return Terminal(sequence(_QUOTE, repeat(ANY_CHARACTER, least, most), _QUOTE))


def literal(value: object) -> Term:
    """The JSON text of a scalar. Numbers stay as they were written."""
    return Terminal(text(json_literal(value)))


def json_literal(value: object) -> str:
    """JSON text without escapes of non-ASCII characters, except for lone surrogates."""
    if value is None or isinstance(value, (bool, str)):
        written = json.dumps(value, ensure_ascii=False)
        return "".join(f"\\u{ord(each):04x}" if "\ud800" <= each <= "\udfff" else each for each in written)
    return str(value)


def written(content: Term) -> Term:
    """The characters of a term without rules as a JSON string has them."""
    match content:
        case Chars() if content == ANY:
            return ANY_CHARACTER
        case Chars():
            return _characters(content)
        case Sequence(parts):
            return sequence(*(written(part) for part in parts))
        case Choice(options):
            return choice(*(written(option) for option in options))
        case Repeat(part, least, most):
            return repeat(written(part), least, most)
        case Ref() | Terminal():
            raise TypeError("a string has no rules in it")


def _characters(wanted: Chars) -> Term:
    r"""Characters as they are or with a letter escape; `\u` escapes would need a set of numbers."""
    escapes = Chars.text("".join(letter for each, letter in _ESCAPES.items() if ord(each) in wanted))
    raw = wanted.both(_RAW)
    options: list[Term] = [raw] if raw.ranges else []
    if escapes.ranges:
        options.append(sequence(_BACKSLASH, escapes))
    return choice(*options)


_Tree = dict[str, "_Tree"]
_END = ""
_ANYTHING = repeat(ANY)


def other_names(allowed: object, taken: Several[str]) -> Term:
    """Names of additional properties, as JSON strings. `allowed`: a simple schema of strings, or None for
    any.

    Listed names (`taken`) are excluded, unless `allowed` is a pattern.
    """
    if isinstance(allowed, dict) and isinstance(values := allowed.get("enum"), list):
        return choice(*(literal(value) for value in values if value not in taken))
    if isinstance(allowed, dict) and isinstance(pattern := allowed.get("pattern"), str):
        return string(read_pattern(pattern))
    if isinstance(allowed, dict) and ("minLength" in allowed or "maxLength" in allowed):
        least, most = allowed.get("minLength", 0), allowed.get("maxLength")
        assert isinstance(least, int)
        assert most is None or isinstance(most, int)
        return any_string(least, most)
    if not taken:
        return any_string()
    return string(_none_of(_tree(taken)))


def _tree(names: Several[str]) -> _Tree:
    tree: _Tree = {}
    for name in names:
        branch = tree
        for character in name:
            branch = branch.setdefault(character, {})
        branch[_END] = {}
    return tree


def _none_of(tree: _Tree) -> Term:
    """Texts that are not in the prefix tree: they leave it, or end inside it."""
    nexts = {character: branch for character, branch in tree.items() if character != _END}
    known = Chars.text("".join(nexts))
    outside = sequence(known.complement() if nexts else ANY, _ANYTHING)
    inner = [sequence(Chars.text(character), _none_of(branch)) for character, branch in nexts.items()]
    ends = NOTHING if _END in tree else EMPTY
    return choice(outside, *inner, ends)
