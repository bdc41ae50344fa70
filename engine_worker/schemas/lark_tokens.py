"""The tokens of a grammar in Lark, and what its texts and regular expressions stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine_worker.schemas.patterns import Unsupported, read_whole
from engine_worker.schemas.terms import Chars, Term, sequence, text

_TOKENS = re.compile(
    r"""(?P<skip>[ \t\r]+|(?://|\#)[^\n]*)
    |(?P<line>\n)
    |(?P<string>"(?:[^"\\\n]|\\.)*"i?)
    |(?P<regex>/(?:[^/\\\n]|\\.)+/[a-z]*)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<directive>%[a-z]+)
    |(?P<times>~[ ]*\d{1,9}(?:[ ]*\.\.[ ]*\d{1,9})?|\{\d{0,9}(?:,\d{0,9})?\})
    |(?P<priority>\.-?\d+)
    |(?P<mark>->|\.\.|[:|()\[\]?*+!.,])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))")
_SHOWN_CHARACTERS = 40
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "b": "\b", "0": "\0"}
# A class without its end is one too: it is refused when the pattern is read.
_DOT = re.compile(r"\\.|\[(?:\\.|[^\]\\])*+\]?|\.")
# The terminals that grammars import from Lark's library, as regular expressions.
COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[0-9A-Fa-f]",
    "INT": "[0-9]+",
    "SIGNED_INT": "[+-]?[0-9]+",
    "DECIMAL": r"(?:[0-9]+\.[0-9]*|\.[0-9]+)",
    "FLOAT": r"(?:[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)",
    "NUMBER": r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    "SIGNED_NUMBER": r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?",
    "ESCAPED_STRING": r'"(?:[^"\\\n]|\\[^\n])*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[A-Za-z]",
    "WORD": "[A-Za-z]+",
    "CNAME": "[A-Za-z_][A-Za-z0-9_]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(?:\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "CPP_COMMENT": r"//[^\n]*",
}


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str


def tokens_of(definition: str) -> Iterator[Token]:
    at = 0
    while at < len(definition):
        found = _TOKENS.match(definition, at)
        if found is None or found.lastgroup is None:
            raise Unsupported(f"{definition[at : at + 20]!r}")
        if found.lastgroup != "skip":
            yield Token(found.lastgroup, found[0])
        at = found.end()
    yield Token("line", "\n")


def literal_term(written: str) -> Term:
    characters = unescaped(written)
    if not written.endswith("i"):
        return text(characters)
    return sequence(*(Chars.text(each.lower() + each.upper()) for each in characters))


def unescaped(written: str) -> str:
    def of(found: re.Match[str]) -> str:
        if code := found[1] or found[2]:
            return chr(int(code, 16))
        return _CONTROLS.get(found[3], found[3])

    characters = _ESCAPE.sub(of, written.removesuffix("i")[1:-1])
    if not characters.isascii() and any("\ud800" <= each < "\ue000" for each in characters):
        raise Unsupported(f"half of a surrogate pair, in {written[:_SHOWN_CHARACTERS]}")
    return characters


def pattern_term(pattern: str, flags: str) -> Term:
    if flags.strip("su"):
        raise Unsupported(f"the flags {flags} of a regular expression")
    # Lark's dot is Python's, which matches more line ends than ECMAScript's.
    dot = r"[\s\S]" if "s" in flags else r"[^\n]"
    written = _DOT.sub(lambda found: dot if found[0] == "." else found[0], pattern)
    return read_whole(written, may_be_anchored=False)


def counts_of(written: str) -> tuple[int, int | None]:
    numbers = re.findall(r"\d+", written)
    if not numbers:
        raise Unsupported(f"the repetition {written}")
    if written.startswith("~"):
        return int(numbers[0]), int(numbers[-1])
    least, comma, most = written[1:-1].partition(",")
    return int(least or 0), (int(most) if most else None) if comma else int(least)
