"""Reads JSON Schema's patterns (ECMAScript regular expressions) as terms.

An unanchored pattern may match anywhere in the text. Features that need more than a finite automaton
(look-around, references to groups) raise Unsupported.
"""

from __future__ import annotations

import re

from engine_worker.schemas.schema_reader import MAX_COUNT
from engine_worker.schemas.terms import (
    ANY,
    EMPTY,
    NOTHING,
    Chars,
    Repeat,
    Term,
    choice,
    repeat,
    sequence,
)

_DIGITS = Chars.text("0123456789")
_WORD = Chars.of([(ord("0"), ord("9")), (ord("A"), ord("Z")), (ord("_"), ord("_")), (ord("a"), ord("z"))])
_SPACE = Chars.text("\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff").ranges
_BLANK = Chars.of([*_SPACE, (0x2000, 0x200A)])
_CLASSES = {
    "d": _DIGITS,
    "D": _DIGITS.complement(),
    "w": _WORD,
    "W": _WORD.complement(),
    "s": _BLANK,
    "S": _BLANK.complement(),
}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "v": "\v", "0": "\0"}
_NOT_LINE_ENDS = Chars.text("\n\r\u2028\u2029").complement()
_COUNT = re.compile(r"\{(\d{1,9})(?:(,)(\d{1,9})?)?\}")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u\{([0-9A-Fa-f]{1,6})\}|u([0-9A-Fa-f]{4})")
_LOW_SURROGATE = re.compile(r"\\u([dD][c-fC-F][0-9A-Fa-f]{2})")
_GROUP = re.compile(r"\?(?::|P?<[A-Za-z_]\w*>)")
_MAX_GROUPS = 50
# Reading takes 1 s at this size, and no grammar may have as many positions.
_MAX_CHARACTERS = 64 * 1024
_ANYTHING = repeat(ANY)


class Unsupported(Exception):
    """A pattern that no grammar can express; the message names the feature."""


class Malformed(Unsupported):
    """What is no regular expression at all; the message is a sentence about the pattern."""


def read_pattern(pattern: str) -> Term:
    """A term for whole texts in which the pattern stands. Raises Unsupported, for malformed patterns too."""
    return _read(pattern, is_whole=False, may_be_anchored=True)


def read_whole(pattern: str, may_be_anchored: bool) -> Term:
    """A term for the texts that the pattern matches from beginning to end; anchors there add nothing. Raises
    Unsupported.
    """
    return _read(pattern, is_whole=True, may_be_anchored=may_be_anchored)


def _read(pattern: str, is_whole: bool, may_be_anchored: bool) -> Term:
    if len(pattern) > _MAX_CHARACTERS:
        raise Malformed(f"it has {len(pattern)} characters, at most {_MAX_CHARACTERS} are possible")
    reader = _Reader(pattern, is_whole)
    term = reader.alternatives(may_be_anchored, may_be_anchored)
    if reader.position < len(pattern):
        raise Malformed(f"the ) at character {reader.position + 1} has no (")
    return term


class _Reader:
    def __init__(self, pattern: str, is_whole: bool) -> None:
        self._pattern = pattern
        self._open_text = EMPTY if is_whole else _ANYTHING
        self._depth = 0
        self.position = 0

    def alternatives(self, is_first: bool, is_last: bool) -> Term:
        """`is_first`, `is_last`: the alternatives begin or end the pattern, so that without an anchor any
        text may stand on that side.
        """
        options = [self._alternative(is_first, is_last)]
        while self._takes("|"):
            options.append(self._alternative(is_first, is_last))
        return choice(*options)

    def _alternative(self, is_first: bool, is_last: bool) -> Term:
        parts: list[Term] = []
        begins = ends = False
        while self.position < len(self._pattern) and self._pattern[self.position] not in "|)":
            if ends:
                raise Unsupported("text after the $ that ends it")
            if self._takes("^") or self._takes("\\A"):
                if parts or not is_first:
                    raise Unsupported("a ^ in its middle or in a group")
                begins = True
            elif self._takes("$") or self._takes("\\Z") or self._takes("\\z"):
                if not is_last:
                    raise Unsupported("a $ in its middle or in a group")
                ends = True
            else:
                parts.append(self._repeated(self._atom()))
        before = self._open_text if is_first and not begins else EMPTY
        after = self._open_text if is_last and not ends else EMPTY
        return sequence(before, *parts, after)

    def _atom(self) -> Term:
        character = self._next("")
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return _NOT_LINE_ENDS
            case "\\":
                return self._escape()
            case "*" | "+" | "?":
                raise Malformed(f"the {character} at character {self.position} repeats nothing")
            case _:
                return Chars.text(character)

    def _repeated(self, part: Term) -> Term:
        least, most = self._count()
        if (least, most) == (1, 1):
            return part
        self._takes("?")
        if self._pattern[self.position : self.position + 1] in ("*", "+"):
            raise Unsupported(f"a repetition of a repetition, at character {self.position + 1}")
        if max(least, most or 0) > MAX_COUNT:
            raise Unsupported(f"a repetition of more than {MAX_COUNT}")
        if most is not None and most < least:
            raise Malformed(
                f"the repetition before character {self.position + 1} counts from {least} down to {most}"
            )
        return repeat(part, least, most)

    def _count(self) -> tuple[int, int | None]:
        for mark, least, most in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if self._takes(mark):
                return least, most
        if (count := _COUNT.match(self._pattern, self.position)) is None:
            return 1, 1
        self.position = count.end()
        least = int(count[1])
        if count[2] is None:
            return least, least
        return least, None if count[3] is None else int(count[3])

    def _group(self) -> Term:
        begin = self.position
        if kind := _GROUP.match(self._pattern, self.position):
            self.position = kind.end()
        elif self._takes("?"):
            raise Unsupported("look-around or a flag")
        self._depth += 1
        if self._depth > _MAX_GROUPS:
            raise Unsupported(f"more than {_MAX_GROUPS} groups within one another")
        # Anchors are supported at the beginning and end of top-level alternatives, not in groups.
        term = self.alternatives(is_first=False, is_last=False)
        self._depth -= 1
        if not self._takes(")"):
            raise Malformed(f"the ( at character {begin} has no )")
        return term

    def _class(self) -> Term:
        problem = f"the [ at character {self.position} has no ]"
        negated = self._takes("^")
        ranges: list[tuple[int, int]] = []
        while not self._takes("]"):
            low = self._member(problem)
            if len(low.ranges) == 1 and self._is_range():
                self.position += 1
                high = self._member(problem)
                begin, end = low.ranges[0][0], high.ranges[-1][1] if high.ranges else -1
                if len(high.ranges) != 1 or end < begin or low.ranges[0][0] != low.ranges[0][1]:
                    raise Malformed(f"the range before character {self.position + 1} is not in order")
                ranges.append((begin, end))
            else:
                ranges += low.ranges
        chars = Chars.of(ranges)
        chars = chars.complement() if negated else chars
        return chars if chars.ranges else NOTHING

    def _is_range(self) -> bool:
        ahead = self._pattern[self.position : self.position + 2]
        return len(ahead) == 2 and ahead[0] == "-" and ahead[1] != "]"

    def _member(self, problem: str) -> Chars:
        character = self._next(problem)
        if character != "\\":
            return Chars.text(character)
        return Chars.text("\b") if self._takes("b") else self._escape()

    def _escape(self) -> Chars:
        if code := _CODE.match(self._pattern, self.position):
            self.position = code.end()
            return self._coded(int(code[1] or code[2] or code[3], 16))
        letter = self._next("the \\ at its end escapes nothing")
        if letter in _CLASSES:
            return _CLASSES[letter]
        if letter in _CONTROLS:
            return Chars.text(_CONTROLS[letter])
        if letter.isalnum():
            raise Unsupported(f"the escape \\{letter}")
        return Chars.text(letter)

    def _coded(self, code: int) -> Chars:
        if 0xD800 <= code < 0xDC00 and (low := _LOW_SURROGATE.match(self._pattern, self.position)):
            self.position = low.end()
            code = 0x10000 + ((code - 0xD800) << 10) + (int(low[1], 16) - 0xDC00)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise Unsupported("half of a surrogate pair")
        return Chars.of([(code, code)])

    def _takes(self, mark: str) -> bool:
        if self._pattern.startswith(mark, self.position):
            self.position += len(mark)
            return True
        return False

    def _next(self, problem: str) -> str:
        if self.position >= len(self._pattern):
            raise Malformed(problem)
        self.position += 1
        return self._pattern[self.position - 1]


def with_length_bounds(pattern: Term, least: int, most: int | None) -> Term | None:
    """The pattern with bounds of its length; None if it is not a repetition of one character class."""
    if not (isinstance(pattern, Repeat) and isinstance(pattern.part, Chars)):
        return None
    ends = [end for end in (pattern.most, most) if end is not None]
    longest = min(ends, default=None)
    shortest = max(pattern.least, least)
    return NOTHING if longest is not None and shortest > longest else repeat(pattern.part, shortest, longest)
