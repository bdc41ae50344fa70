"""Reads a grammar in Lark, by which clients describe the input of a custom tool.

Terminals are read as rules without a lexer: priorities and the longest match are not kept, so a grammar may
allow more than Lark's parser accepts. What is not context-free, or comes from another file, raises
Unsupported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine_worker.schemas.grammar_recursion import check_recursion
from engine_worker.schemas.patterns import Unsupported, read_pattern
from engine_worker.schemas.schema_reader import MAX_COUNT
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import (
    Chars,
    Choice,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    choice,
    optional,
    repeat,
    sequence,
    text,
)

_START = "start"
_MAX_CHARACTERS = 64 * 1024
_MAX_DEPTH = 50
_MAX_RULES = 500
# Parts of all terminals where they stand in rules, in which terminals are written out.
_MAX_PARTS = 50_000
_TOKENS = re.compile(
    r"""(?P<skip>[ \t\r]+|(?://|\#)[^\n]*)
    |(?P<line>\n)
    |(?P<string>"(?:[^"\\\n]|\\.)*"i?)
    |(?P<regex>/(?:[^/\\\n]|\\.)+/[a-z]*)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<directive>%[a-z]+)
    |(?P<times>~[ ]*\d+(?:[ ]*\.\.[ ]*\d+)?|\{\d*(?:,\d*)?\})
    |(?P<priority>\.-?\d+)
    |(?P<mark>->|\.\.|[:|()\[\]?*+!.,])""",
    re.VERBOSE,
)
_TIMES = {"?": (0, 1), "*": (0, None), "+": (1, None)}
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))")
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "b": "\b", "0": "\0"}
_DOT = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\.")
# The terminals that grammars import from Lark's library, as regular expressions.
_COMMON = {
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


def read_lark(definition: str) -> Grammar:
    """The grammar, whose root is the rule `start`. Raises Unsupported, also for a malformed definition."""
    if len(definition) > _MAX_CHARACTERS:
        raise Unsupported(f"more than {_MAX_CHARACTERS} characters")
    reader = _Reader([*_tokens(definition)])
    reader.read()
    return _Grammar(reader.rules, reader.terminals, reader.ignored).grammar()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def _tokens(definition: str) -> Iterator[_Token]:
    at = 0
    while at < len(definition):
        found = _TOKENS.match(definition, at)
        if found is None or found.lastgroup is None:
            raise Unsupported(f"{definition[at : at + 20]!r}")
        if found.lastgroup != "skip":
            yield _Token(found.lastgroup, found[0])
        at = found.end()
    yield _Token("line", "\n")


class _Reader:
    """Reads definitions. Names in terms are references, to terminals too."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self.rules: dict[str, Term] = {}
        self.terminals: dict[str, Term] = {}
        self.ignored: list[Term] = []

    def read(self) -> None:
        while self._at < len(self._tokens):
            if self._takes("\n"):
                continue
            if self._token.kind == "directive":
                self._read_directive(self._next().text)
            else:
                self._read_definition()
            if not self._takes("\n"):
                raise Unsupported(f"{self._token.text!r} at this place")

    def _read_definition(self) -> None:
        while self._takes("?") or self._takes("!"):
            pass
        name = self._name()
        if self._token.kind == "priority":
            self._at += 1
        self._expect(":")
        term = self._alternatives()
        (self.terminals if _is_terminal(name) else self.rules)[name] = term
        if len(self.rules) + len(self.terminals) > _MAX_RULES:
            raise Unsupported(f"more than {_MAX_RULES} rules")

    def _read_directive(self, directive: str) -> None:
        match directive:
            case "%import":
                self._read_import()
            case "%ignore":
                self.ignored.append(self._alternatives())
            case _:
                raise Unsupported(directive)

    def _read_import(self) -> None:
        if self._name() != "common":
            raise Unsupported("an import from another library than common")
        if self._takes("."):
            name = self._name()
            alias = self._name() if self._takes("->") else name
            self._import(name, alias)
            return
        self._expect("(")
        while not self._takes(")"):
            name = self._name()
            self._import(name, name)
            self._takes(",")

    def _import(self, name: str, alias: str) -> None:
        if name not in _COMMON:
            raise Unsupported(f"common.{name}")
        self.terminals[alias] = _pattern(_COMMON[name], "")

    def _alternatives(self) -> Term:
        options = [self._sequence()]
        while self._continues_with("|"):
            options.append(self._sequence())
        return choice(*options)

    def _continues_with(self, mark: str) -> bool:
        """Take the mark, also at the beginning of a later line."""
        at = self._at
        while self._takes("\n"):
            if self._at == len(self._tokens):
                break
        if self._at < len(self._tokens) and self._takes(mark):
            return True
        self._at = at
        return False

    def _sequence(self) -> Term:
        parts: list[Term] = []
        while self._token.kind in ("string", "regex", "name") or self._token.text in ("(", "["):
            parts.append(self._repeated(self._atom()))
        if self._takes("->"):
            self._name()
        return sequence(*parts)

    def _repeated(self, part: Term) -> Term:
        token = self._token
        if token.text in _TIMES:
            self._at += 1
            return repeat(part, *_TIMES[token.text])
        if token.kind != "times":
            return part
        self._at += 1
        least, most = _counts(token.text)
        if max(least, most or 0) > MAX_COUNT or (most is not None and most < least):
            raise Unsupported(f"the repetition {token.text}")
        return repeat(part, least, most)

    def _atom(self) -> Term:
        token = self._next()
        match token.kind:
            case "string":
                return Terminal(self._range_from(token) if self._takes("..") else _literal(token.text))
            case "regex":
                pattern, _, flags = token.text[1:].rpartition("/")
                return Terminal(_pattern(pattern, flags))
            case "name":
                return Ref(token.text)
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unsupported(f"more than {_MAX_DEPTH} groups within one another")
        inner = self._alternatives()
        self._depth -= 1
        if not self._continues_with(")" if token.text == "(" else "]"):
            raise Unsupported(f"a {token.text} without its end")
        return inner if token.text == "(" else optional(inner)

    def _range_from(self, low: _Token) -> Term:
        ends = _unescaped(low.text), _unescaped(self._next().text)
        if any(len(end) != 1 for end in ends) or ends[0] > ends[1]:
            raise Unsupported("a range whose ends are not two characters in order")
        return Chars.of([(ord(ends[0]), ord(ends[1]))])

    def _name(self) -> str:
        token = self._next()
        if token.kind != "name":
            raise Unsupported(f"{token.text!r} in place of a name")
        return token.text

    def _expect(self, mark: str) -> None:
        if not self._takes(mark):
            raise Unsupported(f"{self._token.text!r} in place of {mark!r}")

    @property
    def _token(self) -> _Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _next(self) -> _Token:
        token = self._token
        self._at += 1
        return token

    def _takes(self, mark: str) -> bool:
        if self._at < len(self._tokens) and self._token.kind in ("mark", "line") and self._token.text == mark:
            self._at += 1
            return True
        return False


class _Grammar:
    """Puts the terminals into the rules. `ignored`: what may stand after each terminal, and at the start."""

    def __init__(self, rules: Mapping[str, Term], terminals: Mapping[str, Term], ignored: list[Term]) -> None:
        self._rules = rules
        self._terminals = terminals
        # By name: what a terminal stands for, and how many parts that has. None while it is being read.
        self._known: dict[str, tuple[Term, int] | None] = {}
        self._parts = 0
        self._gap = self._gap_of(ignored)

    def _gap_of(self, ignored: list[Term]) -> Term | None:
        return repeat(Terminal(choice(*self._all(ignored)[0]))) if ignored else None

    def grammar(self) -> Grammar:
        if _START not in self._rules:
            raise Unsupported(f"a grammar without the rule {_START}")
        rules = {f"l_{name}": self._rule(term) for name, term in self._rules.items()}
        start = Ref(f"l_{_START}")
        grammar = Grammar({ROOT: start if self._gap is None else sequence(self._gap, start), **rules})
        check_recursion(grammar)
        return grammar

    def _rule(self, term: Term) -> Term:
        match term:
            case Ref(name) if not _is_terminal(name):
                if name not in self._rules:
                    raise Unsupported(f"the rule {name}, which is not defined")
                return Ref(f"l_{name}")
            case Sequence(parts):
                return sequence(*map(self._rule, parts))
            case Choice(options):
                return choice(*map(self._rule, options))
            case Repeat(part, least, most):
                return repeat(self._rule(part), least, most)
            case _:
                return self._token(*self._terminal(term))

    def _token(self, term: Term, parts: int) -> Term:
        """A terminal of the grammar; lexers want one that is not empty."""
        self._parts += parts
        if self._parts > _MAX_PARTS:
            raise Unsupported(f"terminals with more than {_MAX_PARTS} parts")
        match term:
            case Repeat(part, 0, most):
                token = optional(Terminal(repeat(part, 1, most)))
            case Sequence(()):
                return term
            case _:
                token = Terminal(term)
        return token if self._gap is None else sequence(token, self._gap)

    def _terminal(self, term: Term) -> tuple[Term, int]:
        """The term with all terminals in it written out, and the number of its parts."""
        match term:
            case Ref(name):
                return self._terminal_of(name)
            case Sequence(parts):
                inner, count = self._all(parts)
                return sequence(*inner), count
            case Choice(options):
                inner, count = self._all(options)
                return choice(*inner), count
            case Repeat(part, least, most):
                of_part, count = self._terminal(part)
                return repeat(of_part, least, most), count + 1
            case Terminal(part):
                return part, _count(part)
            case Chars():
                return term, 1

    def _all(self, terms: Iterable[Term]) -> tuple[list[Term], int]:
        inner: list[Term] = []
        total = 0
        for term in terms:
            written, count = self._terminal(term)
            inner.append(written)
            total += count
            if total > _MAX_PARTS:
                raise Unsupported(f"a terminal with more than {_MAX_PARTS} parts")
        return inner, total

    def _terminal_of(self, name: str) -> tuple[Term, int]:
        if name not in self._known:
            if name not in self._terminals:
                raise Unsupported(f"the terminal {name}, which is not defined")
            self._known[name] = None
            self._known[name] = self._terminal(self._terminals[name])
        found = self._known[name]
        if found is None:
            raise Unsupported(f"the terminal {name}, which contains itself")
        return found


def _count(term: Term) -> int:
    match term:
        case Sequence(parts) | Choice(parts):
            return sum(map(_count, parts))
        case Repeat(part) | Terminal(part):
            return 1 + _count(part)
        case _:
            return 1


def _is_terminal(name: str) -> bool:
    return name.lstrip("_")[:1].isupper()


def _literal(written: str) -> Term:
    characters = _unescaped(written)
    if not written.endswith("i"):
        return text(characters)
    return sequence(*(Chars.text(each.lower() + each.upper()) for each in characters))


def _unescaped(written: str) -> str:
    def of(found: re.Match[str]) -> str:
        if code := found[1] or found[2]:
            return chr(int(code, 16))
        return _CONTROLS.get(found[3], found[3])

    return _ESCAPE.sub(of, written.removesuffix("i")[1:-1])


def _pattern(pattern: str, flags: str) -> Term:
    if flags.strip("su"):
        raise Unsupported(f"the flags {flags} of a regular expression")
    # Lark's dot is Python's, which matches more line ends than ECMAScript's.
    dot = r"[\s\S]" if "s" in flags else r"[^\n]"
    written = _DOT.sub(lambda found: dot if found[0] == "." else found[0], pattern)
    return read_pattern(f"^(?:{written})$")


def _counts(written: str) -> tuple[int, int | None]:
    numbers = re.findall(r"\d+", written)
    if not numbers:
        raise Unsupported(f"the repetition {written}")
    if written.startswith("~"):
        return int(numbers[0]), int(numbers[-1])
    least, comma, most = written[1:-1].partition(",")
    return int(least or 0), (int(most) if most else None) if comma else int(least)
