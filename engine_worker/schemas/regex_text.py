"""A term without rules as a regular expression, in the syntax that Rust, Python and llguidance share."""

from __future__ import annotations

from engine_worker.schemas.terms import ANY, Chars, Choice, Leaf, Range, Ref, Repeat, Sequence, Term

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_ ,:;<>=!@%'\"~`")


def regex_text(term: Term) -> str:
    match term:
        case Chars():
            return _class(term)
        case Sequence(parts):
            return "".join(_grouped(part) if isinstance(part, Choice) else regex_text(part) for part in parts)
        case Choice(options):
            return "|".join(map(regex_text, options)) if options else "[^\\x{0}-\\x{10FFFF}]"
        case Repeat(part, least, most):
            return _grouped(part) + _times(least, most)
        case Leaf(part):
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


def _times(least: int, most: int | None) -> str:
    simple = {(0, None): "*", (1, None): "+", (0, 1): "?"}
    if least == most:
        return f"{{{least}}}"
    return simple.get((least, most)) or f"{{{least},{'' if most is None else most}}}"
