"""Reads a client's EBNF, the dialect that xgrammar and llama.cpp share, as a grammar.

Rules are `name ::= …`, and `root` is the first. Their terms: "text", [a-z], [^a-z], ., rule names, groups,
alternatives, and the counts *, +, ?, {2}, {2,} and {2,5}. `#` begins a comment.

All engines get what is read here, so that a grammar means the same everywhere and is refused before it
reaches an engine. xgrammar's lookahead and macros are in no other engine's language, and are refused.
"""

from __future__ import annotations

import re

from drover.errors import ConstraintRejected
from engine_worker.schemas.cost_limits import MAX_EBNF_CHARACTERS
from engine_worker.schemas.grammar_checks import checked
from engine_worker.schemas.schema_reader import MAX_COUNT
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import ANY, EMPTY, NOTHING, Chars, Ref, Term, choice, repeat, sequence, text

_MAX_GROUPS = 50
_SHOWN_CHARACTERS = 40
# Possessive, as all repetitions here that could match one text in several ways: backtracking would hold the
# interpreter for minutes.
_GAP = re.compile(r"(?:\s|#[^\n]*+)*+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_DEFINES = re.compile(r"(?:\s|#[^\n]*+)*+::=")
_COUNT = re.compile(r"\{\s*+(\d{1,9})?\s*+(,)?\s*+(\d{1,9})?\s*+\}")
_CODE = re.compile(r"x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_MARKS = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_EBNF_RULE = re.compile(r"^\s*+(?:#[^\n]*+\s*+)*+[A-Za-z_][A-Za-z0-9_.-]*+\s*+::=")
_LARK_RULE = re.compile(r"^[ \t]*+[?!]?[a-zA-Z_]\w*+[ \t]*+(?:\.-?\d+)?[ \t]*+:(?!:)", re.MULTILINE)


def is_lark(source: str) -> bool:
    """Whether a grammar is written in Lark, `start: "yes" | "no"`."""
    return _EBNF_RULE.search(source) is None and _LARK_RULE.search(source) is not None


def read_ebnf(source: str) -> Grammar:
    """The checked grammar. Raises ConstraintRejected."""
    if len(source) > MAX_EBNF_CHARACTERS:
        raise ConstraintRejected(
            f"the EBNF is too large: it has {len(source)} characters, "
            f"at most {MAX_EBNF_CHARACTERS} are possible"
        )
    return checked(_Reader(source).rules())


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0
        self._depth = 0

    def rules(self) -> Grammar:
        rules: dict[str, Term] = {}
        self._skip()
        while self._position < len(self._source):
            name = self._match(_NAME)
            if name is None or self._match(_DEFINES) is None:
                raise self._error("a rule, like `root ::= …`, is expected")
            if name[0] in rules:
                raise ConstraintRejected(f"EBNF: the rule {_shown(name[0])} is defined twice")
            self._skip()
            rules[name[0]] = self._alternatives()
        if ROOT not in rules:
            raise ConstraintRejected(f"EBNF: there is no rule `{ROOT}`, with which the answer begins")
        return Grammar({ROOT: rules.pop(ROOT), **rules})

    def _alternatives(self) -> Term:
        options = [self._sequence()]
        while self._takes("|"):
            options.append(self._sequence())
        return choice(*options)

    def _sequence(self) -> Term:
        parts: list[Term] = []
        while (part := self._item()) is not None:
            parts.append(self._counted(part))
        return sequence(*parts)

    def _item(self) -> Term | None:
        """The next term; None at the end of a sequence."""
        character = self._source[self._position : self._position + 1]
        match character:
            case "" | "|" | ")":
                if character == ")" and not self._depth:
                    raise self._error("a ) without its (")
                return None
            case '"':
                return self._text()
            case "[":
                return self._class()
            case "(":
                return self._group()
            case ".":
                self._takes(".")
                return ANY
        return self._reference()

    def _reference(self) -> Term | None:
        begin = self._position
        name = _NAME.match(self._source, begin)
        if name is None:
            raise self._error("a text, a class, a group or the name of a rule is expected")
        if _DEFINES.match(self._source, name.end()):
            if self._depth:
                raise self._error("a ( without its )")
            return None
        self._position = name.end()
        self._skip()
        return Ref(name[0])

    def _group(self) -> Term:
        self._takes("(")
        if self._source.startswith("=", self._position):
            raise self._error("lookahead is not supported")
        self._depth += 1
        if self._depth > _MAX_GROUPS:
            raise self._error(f"more than {_MAX_GROUPS} groups within one another")
        term = self._alternatives()
        self._depth -= 1
        if not self._takes(")"):
            raise self._error("a ( without its )")
        return term

    def _counted(self, part: Term) -> Term:
        while (count := self._count()) is not None:
            least, most = count
            if max(least, most or 0) > MAX_COUNT:
                raise self._error(f"a repetition of more than {MAX_COUNT}")
            if most is not None and most < least:
                raise self._error(f"a repetition from {least} to {most}")
            part = repeat(part, least, most)
        return part

    def _count(self) -> tuple[int, int | None] | None:
        for mark, times in _MARKS.items():
            if self._takes(mark):
                return times
        if not self._source.startswith("{", self._position):
            return None
        count = self._match(_COUNT)
        if count is None or not (count[1] or count[3]):
            raise self._error("a count, like {2} or {2,5}, is expected")
        self._skip()
        least = int(count[1] or 0)
        if count[2] is None:
            return least, least
        return least, None if count[3] is None else int(count[3])

    def _text(self) -> Term:
        self._position += 1
        parts: list[Term] = []
        while not self._source.startswith('"', self._position):
            character = self._next("a text without its closing quote")
            if character == "\n":
                raise self._error("a text without its closing quote")
            parts.append(self._escape() if character == "\\" else text(character))
        self._takes('"')
        return sequence(*parts) if parts else EMPTY

    def _class(self) -> Term:
        self._position += 1
        negated = self._source.startswith("^", self._position)
        self._position += negated
        ranges: list[tuple[int, int]] = []
        while not self._source.startswith("]", self._position):
            low = self._member()
            ahead = self._source[self._position : self._position + 2]
            high = low
            if len(ahead) == 2 and ahead[0] == "-" and ahead[1] != "]":
                self._position += 1
                high = self._member()
            if high < low:
                raise self._error("a range from back to front")
            ranges.append((low, high))
        self._takes("]")
        chars = Chars.of(ranges)
        chars = chars.complement() if negated else chars
        return chars if chars.ranges else NOTHING

    def _member(self) -> int:
        character = self._next("a [ without its ]")
        if character != "\\":
            return ord(character)
        return self._code()

    def _escape(self) -> Term:
        code = self._code()
        return Chars.of([(code, code)])

    def _code(self) -> int:
        """The code point that an escape stands for; the backslash has been read."""
        if code := self._match(_CODE):
            value = int(code[1] or code[2] or code[3], 16)
            if value > 0x10FFFF or 0xD800 <= value < 0xE000:
                raise self._error("an escape of no character")
            return value
        letter = self._next("an escape is expected")
        if letter in _ESCAPES:
            return ord(_ESCAPES[letter])
        if letter.isalnum():
            raise self._error(f"the escape \\{letter} is not known")
        return ord(letter)

    def _next(self, problem: str) -> str:
        if self._position >= len(self._source):
            raise self._error(problem)
        self._position += 1
        return self._source[self._position - 1]

    def _takes(self, mark: str) -> bool:
        if not self._source.startswith(mark, self._position):
            return False
        self._position += len(mark)
        self._skip()
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._source, self._position)
        if found is not None:
            self._position = found.end()
        return found

    def _skip(self) -> None:
        self._match(_GAP)

    def _error(self, problem: str) -> ConstraintRejected:
        line = self._source.count("\n", 0, self._position) + 1
        ahead = self._source[self._position : self._position + _SHOWN_CHARACTERS].partition("\n")[0]
        where = f"before {ahead!r}" if ahead else "at its end"
        return ConstraintRejected(f"EBNF, line {line}, {where}: {problem}")


def _shown(name: str) -> str:
    return repr(name[:_SHOWN_CHARACTERS])
