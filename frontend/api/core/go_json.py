"""JSON as Ollama's server (Go's encoding/json) reads and writes it.

The fast path is orjson. Bodies that it refuses are read again with Go's rules: bytes after the first value
are ignored, broken UTF-8 becomes U+FFFD, and errors have the text of Go's decoder (ollama-contract.md,
"Reading a request").
"""

from __future__ import annotations

import json
import math
import re
from typing import NoReturn

import orjson

from drover.errors import InvalidRequest
from drover.json_value import Json as Json

MISSING_BODY = "missing request body"
_MAX_DEPTH = 10_000
_TOO_DEEP = "exceeded max depth"
_MAX_INT_DIGITS = 20
_INT64_MIN = -(2**63)
_UINT64_MAX = 2**64 - 1
# Finding the place of an error costs a microsecond and more per value: the limit bounds it to a second.
_MAX_VALUES = 500_000
# Python's garbage collector traverses arrays and objects while they are created, and no other code runs:
# seven million of them, 2 kB as zstd, took five seconds. Brackets in texts count too: excluding them would
# cost as much, and a text of ten megabytes has fewer.
MAX_BRACKETS = 500_000
# orjson holds the interpreter's lock while it creates values: three million keys took three seconds, in which
# no other request was served. A quote in a text is escaped; a comma is not, so more commas are allowed.
MAX_QUOTES = 1_000_000
MAX_COMMAS = 2_000_000
# A piece takes a millisecond or two; other threads may run between pieces.
_PIECE_BYTES = 1024 * 1024
_PIECE_CHARACTERS = 64 * 1024

_SPACE = re.compile(rb"[ \t\r\n]*")
# A string up to its closing quote, or up to an error. Possessive: it never backtracks, and needs no memory.
_STRING_RUN = re.compile(rb'"(?:[^"\\\x00-\x1f]++|(?:\\["\\/bfnrt])++|(?:\\u[0-9a-fA-F]{4})++)*+')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LITERALS = (b"true", b"false", b"null")


def loads(body: bytes) -> Json:
    """Parse the first JSON value of a body. Raises InvalidRequest with the text of Go's decoder."""
    _check_counts(body)
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        end = scan_value(body)
    else:
        return value
    try:
        return _clean(json.loads(body[:end].decode(errors="replace"), parse_int=_integer, parse_float=_float))
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None


def _check_counts(body: bytes) -> None:
    """Raises InvalidRequest for more arrays, texts or values than are read."""
    if _has_more(body, MAX_BRACKETS, b"[", b"{"):
        raise InvalidRequest(f"more than {MAX_BRACKETS} arrays and objects are not read")
    if _has_more(body, MAX_QUOTES, b'"', escaped=rb"\""):
        raise InvalidRequest(f"more than {MAX_QUOTES // 2} texts and names are not read")
    if _has_more(body, MAX_COMMAS, b","):
        raise InvalidRequest(f"more than {MAX_COMMAS} values are not read")


def _has_more(body: bytes, most: int, *counted: bytes, escaped: bytes = b"") -> bool:
    """Count in pieces, since bytes.count holds the interpreter's lock until it returns. `escaped`: two bytes
    that do not count.
    """
    found = 0
    for start in range(0, len(body), _PIECE_BYTES) if len(body) > most else ():
        end = start + _PIECE_BYTES
        found += sum(body.count(each, start, end) for each in counted)
        if escaped:
            found -= body.count(escaped, start, end + 1)
        if found > most:
            return True
    return False


def _integer(digits: str) -> int | float:
    """A float beyond 64 bits, as on the fast path."""
    if len(digits) > _MAX_INT_DIGITS:
        return float(digits)
    value = int(digits)
    return value if _INT64_MIN <= value <= _UINT64_MAX else float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidRequest(f"json: cannot unmarshal number {digits} into Go value of type float64")
    return value


def _clean(value: Json) -> Json:
    """Replace lone surrogates by U+FFFD, as in Go; they cannot be encoded."""
    match value:
        case str():
            return _without_surrogates(value)
        case list():
            return [_clean(item) for item in value]
        case dict():
            return {str(_clean(key)): _clean(item) for key, item in value.items()}
        case _:
            return value


def _without_surrogates(text: str) -> str:
    """Work in pieces. Paired surrogates are one character already, so that none is split."""
    if text.isascii():
        return text
    pieces = (text[start : start + _PIECE_CHARACTERS] for start in range(0, len(text), _PIECE_CHARACTERS))
    return "".join(piece.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for piece in pieces)


def dump_text(value: object) -> str:
    """Encode a part of a request as JSON. Raises InvalidRequest where it is nested too deep."""
    try:
        return orjson.dumps(value).decode()
    except TypeError as error:
        raise InvalidRequest(f"cannot pass this JSON on: {error}") from None


def dumps_text(text: str) -> bytes:
    """Encode a string as Go does, with HTML's special characters escaped."""
    data = orjson.dumps(text)
    if b"<" in data or b">" in data or b"&" in data or b"\xe2\x80" in data:
        data = _escape_html(data)
    return data


def dumps(value: object) -> bytes:
    return _escape_html(orjson.dumps(value))


def _escape_html(data: bytes) -> bytes:
    return (
        data.replace(b"<", rb"\u003c")
        .replace(b">", rb"\u003e")
        .replace(b"&", rb"\u0026")
        .replace(b"\xe2\x80\xa8", rb"\u2028")
        .replace(b"\xe2\x80\xa9", rb"\u2029")
    )


def scan_value(data: bytes) -> int:
    """The end of the first value. Raises InvalidRequest with the text of Go's scanner."""
    at = _skip_space(data, 0)
    if at == len(data):
        raise InvalidRequest(MISSING_BODY)
    closers = bytearray()
    at = _begin_value(data, at, closers)
    for _ in range(_MAX_VALUES):
        if not closers:
            return at
        at = _after_value(data, _skip_space(data, at), closers)
    raise InvalidRequest(f"malformed JSON (in more than {_MAX_VALUES} values, the place was not looked for)")


def _begin_value(data: bytes, at: int, closers: bytearray) -> int:
    """Read a scalar, or open containers until a scalar or an empty container is read."""
    while True:
        at = _skip_space(data, at)
        opened = _byte(data, at)
        if opened not in b"{[":
            return _scalar(data, at)
        closers.append(ord("}") if opened == b"{" else ord("]"))
        if len(closers) > _MAX_DEPTH:
            _invalid(data, at, _TOO_DEEP)
        at = _skip_space(data, at + 1)
        if _byte(data, at)[0] == closers[-1]:
            closers.pop()
            return at + 1
        if opened == b"{":
            at = _key(data, at)


def _after_value(data: bytes, at: int, closers: bytearray) -> int:
    found = _byte(data, at)
    if found[0] == closers[-1]:
        closers.pop()
        return at + 1
    in_object = closers[-1] == ord("}")
    if found != b",":
        _invalid(data, at, "after object key:value pair" if in_object else "after array element")
    at = _skip_space(data, at + 1)
    return _begin_value(data, _key(data, at) if in_object else at, closers)


def _key(data: bytes, at: int) -> int:
    """Read `"key":`; return where its value begins."""
    if _byte(data, at) != b'"':
        _invalid(data, at, "looking for beginning of object key string")
    at = _skip_space(data, _string(data, at))
    if _byte(data, at) != b":":
        _invalid(data, at, "after object key")
    return at + 1


def _scalar(data: bytes, at: int) -> int:
    first = _byte(data, at)
    if first == b'"':
        return _string(data, at)
    if first in b"-0123456789":
        return _number(data, at)
    for literal in _LITERALS:
        if literal.startswith(first):
            return _literal(data, at, literal)
    return _invalid(data, at, "looking for beginning of value")


def _string(data: bytes, at: int) -> int:
    at = _end_of(_STRING_RUN, data, at)
    if _byte(data, at) == b'"':
        return at + 1
    if _byte(data, at) != b"\\":
        _invalid(data, at, "in string literal")
    if _byte(data, at + 1) != b"u":
        _invalid(data, at + 1, "in string escape code")
    for offset in range(2, 6):
        if _byte(data, at + offset) not in b"0123456789abcdefABCDEF":
            _invalid(data, at + offset, r"in \u hexadecimal character escape")
    raise AssertionError("the pattern takes whole escapes")


def _number(data: bytes, at: int) -> int:
    match = _NUMBER.match(data, at)
    if match is None:
        _invalid(data, at + 1, "in numeric literal")
    end = match.end()
    following = data[end : end + 1]
    if following == b"." and b"." not in match[0] and b"e" not in match[0].lower():
        _invalid(data, end + 1, "after decimal point in numeric literal")
    if following in (b"e", b"E") and b"e" not in match[0].lower():
        signed = data[end + 1 : end + 2] in (b"+", b"-")
        _invalid(data, end + 1 + signed, "in exponent of numeric literal")
    return end


def _literal(data: bytes, at: int, literal: bytes) -> int:
    for offset, expected in enumerate(literal):
        if _byte(data, at + offset)[0] != expected:
            _invalid(data, at + offset, f"in literal {literal.decode()} (expecting '{chr(expected)}')")
    return at + len(literal)


def _skip_space(data: bytes, at: int) -> int:
    return _end_of(_SPACE, data, at)


def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    match = pattern.match(data, at)
    assert match is not None, "the pattern matches the empty string"
    return match.end()


def _byte(data: bytes, at: int) -> bytes:
    if at >= len(data):
        raise InvalidRequest("unexpected EOF")
    return data[at : at + 1]


def _invalid(data: bytes, at: int, where: str) -> NoReturn:
    raise InvalidRequest(f"invalid character {_quoted(_byte(data, at))} {where}")


def _quoted(character: bytes) -> str:
    code = character[0]
    special = {ord("'"): r"'\''", ord('"'): "'\"'", ord("\\"): r"'\\'"}
    names = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r"}
    if code in special:
        return special[code]
    if code in names:
        return f"'\\{names[code]}'"
    return f"'\\x{code:02x}'" if code < 0x20 or code == 0x7F else f"'{chr(code)}'"
