"""Reads and writes Go's literals: numbers, strings and characters."""

from __future__ import annotations

import re

_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_WRITTEN = {chr(code): f"\\{letter}" for letter, code in _SIMPLE.items()}
_ESCAPE = re.compile(
    r"\\(?:(?P<simple>[abfnrtv\\])|(?P<quote>['\"])|(?P<octal>[0-7]{3})|x(?P<hex>[0-9a-fA-F]{2})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8}))|(?P<plain>[^\\])",
    re.DOTALL,
)
_FLOAT_MARKS = frozenset(".eEpP")
_PREFIXED_INT = re.compile(r"[+-]?0[xXbBoO][^.pP]*")
_INT = re.compile(r"0[xX]_?[0-9a-fA-F].*|0[oObB]_?[0-7].*|[0-9].*")
_LONGEST_INT = 80
_MAX_INT = 2**63


def unquoted(literal: str) -> str:
    """The text of a quoted or raw string literal. Raises ValueError."""
    inside = literal[1:-1]
    if literal[0] == "`":
        return inside.replace("\r", "")
    return _unescaped(inside, '"').decode(errors="replace")


def character(literal: str) -> int:
    """The code point of `'x'`. Raises ValueError."""
    inside = literal[1:-1]
    parts = list(_ESCAPE.finditer(inside))
    if len(parts) != 1 or parts[0].end() != len(inside):
        raise ValueError("invalid syntax" if not parts else f"malformed character constant: {literal}")
    part = parts[0]
    if part["octal"] or part["hex"]:
        return int(part["octal"], 8) if part["octal"] else int(part["hex"], 16)
    return ord(_unescaped(inside, "'").decode())


def _unescaped(inside: str, quote: str) -> bytes:
    result = bytearray()
    at = 0
    while at < len(inside):
        part = _ESCAPE.match(inside, at)
        if part is None:
            raise ValueError("invalid syntax")
        at = part.end()
        if part["plain"]:
            result += part["plain"].encode(errors="replace")
        elif part["simple"]:
            result.append(_SIMPLE[part["simple"]])
        elif part["quote"]:
            if part["quote"] != quote:
                raise ValueError("invalid syntax")
            result += quote.encode()
        elif part["octal"] or part["hex"]:
            code = int(part["octal"], 8) if part["octal"] else int(part["hex"], 16)
            if code > 255:
                raise ValueError("invalid syntax")
            result.append(code)
        else:
            code = int(part["short"] or part["long"], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise ValueError("invalid syntax")
            result += chr(code).encode()
    return bytes(result)


def number(text: str) -> int | float:
    """Parse a number literal. Raises ValueError with Go's message."""
    is_float = bool(_FLOAT_MARKS & set(text)) and not _PREFIXED_INT.fullmatch(text)
    try:
        value = _float(text) if is_float else _int(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"illegal number syntax: {quoted(text)}") from error
    if isinstance(value, int) and not -_MAX_INT <= value < _MAX_INT:
        raise ValueError(f"integer overflow: {quoted(text)}")
    return value


def _int(text: str) -> int:
    digits = text.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_":
        return int(text[: len(text) - len(digits)] + "0o" + digits[1:].lstrip("_"), 8)
    if not _INT.fullmatch(digits) or len(digits) > _LONGEST_INT:
        raise ValueError(text)
    return int(text, 0)


def _float(text: str) -> float:
    value = float.fromhex(text.replace("_", "")) if "x" in text.lower() else float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(text)
    return value


def quoted(text: str) -> str:
    """The text as Go's %q writes it."""
    return '"' + "".join(_escaped(each) for each in text) + '"'


def _escaped(each: str) -> str:
    if each == '"':
        return '\\"'
    if each in _WRITTEN:
        return _WRITTEN[each]
    if each == " " or each.isprintable():
        return each
    code = ord(each)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def rune_name(each: str) -> str:
    """A code point as Go's %#U writes it: `U+00E9 'é'`."""
    name = f"U+{ord(each):04X}"
    return f"{name} '{each}'" if each.isprintable() else name
