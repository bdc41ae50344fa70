"""Mutations of bytes, which break the syntax."""

from __future__ import annotations

from random import Random

_MOST_STEPS = 6
_LONGEST_PIECE = 64
_MOST_REPEATS = 400

JSON_WORDS = (
    b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"\\u", b"\\ud800", b"\\udc00", b"\\u0000", b"null",
    b"tru", b"NaN", b"-", b"-0", b"1e999", b"1E-", b"0.", b"00", b"123456789012345678901234567890", b"\x00",
    b"\x1f", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8",
    b"/*", b"'", b'{"model":', b'"messages":[', b'"options":{', b" \t\r\n", b"{}{}", b"[[[[[[[[",
    b'{"a":{"a":{"a":',
)  # fmt: skip
TEMPLATE_WORDS = (
    b"{{", b"}}", b"{{-", b"-}}", b"{{/*", b"*/}}", b"|", b"$", b"$x := ", b".", b".Messages", b"(", b")",
    b"`", b"'", b'"', b"\\", b" end ", b"{{ end }}", b"{{ else }}", b"{{ range .Messages }}", b"{{ if ",
    b"{{ with . }}", b'{{ define "x" }}', b'{{ template "x" . }}', b'{{ block "x" . }}', b"{{ break }}",
    b"{{ continue }}", b" printf \"%*d %v\" ", b" index ", b" slice ", b" len ", b" and ", b" not ",
    b" eq ", b" json ", b"0x", b"1e", b"1_0", b"0b", b"1i", b"'\\x", b"nil", b"true", b", ", b" = ", b"\n",
    b"\xff", b"\xe2\x80\xa8", b"((((((((",
)  # fmt: skip


def mutated(body: bytes, dice: Random, words: tuple[bytes, ...]) -> bytes:
    data = bytearray(body)
    for _ in range(dice.randint(1, _MOST_STEPS)):
        _STEPS[dice.randrange(len(_STEPS))](data, dice, words)
    return bytes(data)


def _at(data: bytearray, dice: Random) -> int:
    return dice.randint(0, len(data))


def _flip(data: bytearray, dice: Random, _: tuple[bytes, ...]) -> None:
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _put_byte(data: bytearray, dice: Random, _: tuple[bytes, ...]) -> None:
    data.insert(_at(data, dice), dice.randrange(256))


def _put_word(data: bytearray, dice: Random, words: tuple[bytes, ...]) -> None:
    at = _at(data, dice)
    data[at:at] = dice.choice(words)


def _repeat_word(data: bytearray, dice: Random, words: tuple[bytes, ...]) -> None:
    at = _at(data, dice)
    data[at:at] = dice.choice(words) * dice.randint(2, _MOST_REPEATS)


def _cut(data: bytearray, dice: Random, _: tuple[bytes, ...]) -> None:
    at = _at(data, dice)
    del data[at : at + dice.randint(1, _LONGEST_PIECE)]


def _end(data: bytearray, dice: Random, _: tuple[bytes, ...]) -> None:
    del data[_at(data, dice) :]


def _copy(data: bytearray, dice: Random, _: tuple[bytes, ...]) -> None:
    start, at = _at(data, dice), _at(data, dice)
    data[at:at] = data[start : start + dice.randint(1, _LONGEST_PIECE)]


_STEPS = (_flip, _put_byte, _put_word, _put_word, _repeat_word, _cut, _end, _copy)
