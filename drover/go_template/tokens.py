"""Splits a template's source into tokens, with Go's delimiters, trim markers and error messages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from drover.go_template.literals import quoted, rune_name

_LEFT, _RIGHT, _COMMENT, _COMMENT_END = "{{", "}}", "/*", "*/"
_SPACES = " \t\r\n"
_TRIMMED_RIGHT = re.compile(r"[ \t\r\n]-\}\}")
_SPACE_RUN = re.compile(r"[ \t\r\n]+")
_WORD = re.compile(r"\w+")
_MEMBER = re.compile(r"[.$]\w*")
_NUMBER = re.compile(
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?"
    r"|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?",
    re.ASCII,
)
# The inside of a literal, up to its end or to an illegal character.
_QUOTED = {'"': re.compile(r'"(?:[^"\\\n]|\\[^\n])*'), "'": re.compile(r"'(?:[^'\\\n]|\\[^\n])*")}
_UNTERMINATED = {'"': "unterminated quoted string", "'": "unterminated character constant"}
_KEYWORDS = frozenset(
    ("block", "break", "continue", "define", "else", "end", "if", "range", "template", "with")
)


class Kind(Enum):
    ERROR = auto()
    EOF = auto()
    TEXT = auto()
    LEFT = auto()
    RIGHT = auto()
    SPACE = auto()
    ASSIGN = auto()
    DECLARE = auto()
    PIPE = auto()
    OTHER = auto()
    LEFT_PAREN = auto()
    RIGHT_PAREN = auto()
    BOOL = auto()
    CHARACTER = auto()
    NUMBER = auto()
    STRING = auto()
    RAW_STRING = auto()
    IDENTIFIER = auto()
    FIELD = auto()
    VARIABLE = auto()
    DOT = auto()
    NIL = auto()
    KEYWORD = auto()


@dataclass(frozen=True, slots=True)
class Token:
    """`position`: offset in the source, in characters; `line` counts from 1."""

    kind: Kind
    text: str
    position: int
    line: int

    def __str__(self) -> str:
        match self.kind:
            case Kind.EOF:
                return "EOF"
            case Kind.ERROR:
                return self.text
            case Kind.KEYWORD | Kind.DOT | Kind.NIL:
                return f"<{self.text}>"
            case _ if len(self.text) > 10:
                return f"{quoted(self.text[:10])}..."
            case _:
                return quoted(self.text)

    def is_keyword(self, word: str) -> bool:
        return self.kind is Kind.KEYWORD and self.text == word


def tokens_of(source: str) -> list[Token]:
    """All tokens; the last one is EOF, or ERROR with the message as its text."""
    return _Lexer(source).run()


class _Wrong(Exception):
    pass


class _Lexer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._start = self._at = 0
        self._line, self._counted = 1, 0
        self._parentheses = 0
        self._tokens: list[Token] = []

    def run(self) -> list[Token]:
        try:
            while self._text():
                pass
        except _Wrong as error:
            self._add(Kind.ERROR, str(error))
        return self._tokens

    def _text(self) -> bool:
        """Read text and one action; False at the end of the source."""
        opening = self._source.find(_LEFT, self._at)
        if opening < 0:
            self._emit_text(self._source[self._at :])
            self._at = self._start = len(self._source)
            self._add(Kind.EOF, "")
            return False
        text = self._source[self._at : opening]
        trims = self._trims_left(opening + len(_LEFT))
        self._emit_text(text.rstrip(_SPACES) if trims else text)
        self._start, self._at = opening, opening + len(_LEFT)
        if self._source.startswith(_COMMENT, self._at + 2 * trims):
            self._at += 2 * trims
            self._comment()
            return True
        self._emit(Kind.LEFT)
        self._at += 2 * trims
        self._start = self._at
        self._parentheses = 0
        while self._inside():
            pass
        return True

    def _trims_left(self, at: int) -> bool:
        return self._source.startswith("-", at) and self._source[at + 1 : at + 2] in tuple(_SPACES)

    def _emit_text(self, text: str) -> None:
        self._start = self._at
        if text:
            self._add(Kind.TEXT, text)

    def _comment(self) -> None:
        self._start = self._at
        end = self._source.find(_COMMENT_END, self._at + len(_COMMENT))
        if end < 0:
            raise _Wrong("unclosed comment")
        self._at = end + len(_COMMENT_END)
        if not self._skip_right():
            raise _Wrong("comment ends before closing delimiter")

    def _skip_right(self) -> bool:
        """Skip a closing delimiter, and the space after it if it has a trim marker."""
        trims = _TRIMMED_RIGHT.match(self._source, self._at)
        if not trims and not self._source.startswith(_RIGHT, self._at):
            return False
        self._at = trims.end() if trims else self._at + len(_RIGHT)
        if trims and (space := _SPACE_RUN.match(self._source, self._at)):
            self._at = space.end()
        return True

    def _inside(self) -> bool:
        """Read one token of an action; False after its end."""
        self._start = self._at
        if _TRIMMED_RIGHT.match(self._source, self._at) or self._source.startswith(_RIGHT, self._at):
            if self._parentheses:
                raise _Wrong("unclosed left paren")
            self._skip_right()
            self._add(Kind.RIGHT, _RIGHT)
            return False
        if self._at >= len(self._source):
            raise _Wrong("unclosed action")
        character = self._source[self._at]
        if character in _SPACES:
            self._space()
        elif character in "\"'":
            self._literal(character)
        elif character == "`":
            self._raw_string()
        elif character == "$" or (character == "." and not self._digit_follows()):
            self._member()
        elif character in "+-." or "0" <= character <= "9":
            self._number()
        elif character == "_" or character.isalnum():
            self._word()
        else:
            self._punctuation(character)
        return True

    def _digit_follows(self) -> bool:
        return "0" <= self._source[self._at + 1 : self._at + 2] <= "9"

    def _space(self) -> None:
        space = _SPACE_RUN.match(self._source, self._at)
        assert space
        end = space.end()
        if _TRIMMED_RIGHT.match(self._source, end - 1):
            end -= 1
        self._at = end
        if end > self._start:
            self._emit(Kind.SPACE)

    def _literal(self, quote: str) -> None:
        inside = _QUOTED[quote].match(self._source, self._at)
        assert inside
        self._at = inside.end()
        if not self._source.startswith(quote, self._at):
            raise _Wrong(_UNTERMINATED[quote])
        self._at += 1
        self._emit(Kind.STRING if quote == '"' else Kind.CHARACTER)

    def _raw_string(self) -> None:
        end = self._source.find("`", self._at + 1)
        if end < 0:
            raise _Wrong("unterminated raw quoted string")
        self._at = end + 1
        self._emit(Kind.RAW_STRING)

    def _member(self) -> None:
        name = _MEMBER.match(self._source, self._at)
        assert name
        self._at = name.end()
        self._check_terminator()
        if self._source[self._start] == "$":
            self._emit(Kind.VARIABLE)
        else:
            self._emit(Kind.DOT if self._at == self._start + 1 else Kind.FIELD)

    def _number(self) -> None:
        number = _NUMBER.match(self._source, self._at)
        assert number
        self._at = number.end()
        follower = self._source[self._at : self._at + 1]
        if follower == "_" or follower.isalnum() or follower in ("+", "-"):
            self._at += 1
            raise _Wrong(f"bad number syntax: {quoted(self._source[self._start : self._at])}")
        self._emit(Kind.NUMBER)

    def _word(self) -> None:
        word = _WORD.match(self._source, self._at)
        if word is None:
            raise _Wrong(f"unrecognized character in action: {rune_name(self._source[self._at])}")
        self._at = word.end()
        self._check_terminator()
        match word.group():
            case "true" | "false":
                self._emit(Kind.BOOL)
            case "nil":
                self._emit(Kind.NIL)
            case text:
                self._emit(Kind.KEYWORD if text in _KEYWORDS else Kind.IDENTIFIER)

    def _check_terminator(self) -> None:
        follower = self._source[self._at : self._at + 1]
        if follower and follower not in _SPACES + ".,|:()" and not self._source.startswith(_RIGHT, self._at):
            raise _Wrong(f"bad character {rune_name(follower)}")

    def _punctuation(self, character: str) -> None:
        self._at += 1
        match character:
            case "=":
                self._emit(Kind.ASSIGN)
            case ":":
                if not self._source.startswith("=", self._at):
                    raise _Wrong("expected :=")
                self._at += 1
                self._emit(Kind.DECLARE)
            case "|":
                self._emit(Kind.PIPE)
            case "(":
                self._parentheses += 1
                self._emit(Kind.LEFT_PAREN)
            case ")":
                self._parentheses -= 1
                if self._parentheses < 0:
                    raise _Wrong("unexpected right paren")
                self._emit(Kind.RIGHT_PAREN)
            case _ if character.isascii() and character.isprintable():
                self._emit(Kind.OTHER)
            case _:
                raise _Wrong(f"unrecognized character in action: {rune_name(character)}")

    def _emit(self, kind: Kind) -> None:
        self._add(kind, self._source[self._start : self._at])

    def _add(self, kind: Kind, text: str) -> None:
        self._line += self._source.count("\n", self._counted, self._start)
        self._counted = max(self._counted, self._start)
        self._tokens.append(Token(kind, text, self._start, self._line))
