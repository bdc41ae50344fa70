"""Reads a grammar in Lark, by which clients describe the input of a custom tool.

Terminals are read as rules without a lexer: priorities and the longest match are not kept, so a grammar may
allow more than Lark's parser accepts. What is not context-free, or comes from another file, raises
Unsupported.
"""

from __future__ import annotations

from engine_worker.schemas.lark_terminals import LarkGrammar, is_terminal
from engine_worker.schemas.lark_tokens import (
    COMMON,
    Token,
    counts_of,
    literal_term,
    pattern_term,
    tokens_of,
    unescaped,
)
from engine_worker.schemas.patterns import Unsupported
from engine_worker.schemas.schema_reader import MAX_COUNT
from engine_worker.schemas.schema_to_grammar import Grammar
from engine_worker.schemas.terms import Chars, Ref, Term, Terminal, choice, optional, repeat, sequence

_MAX_CHARACTERS = 64 * 1024
_MAX_DEPTH = 50
_MAX_RULES = 500
_TIMES = {"?": (0, 1), "*": (0, None), "+": (1, None)}


def read_lark(definition: str) -> Grammar:
    """The grammar, whose root is the rule `start`. Raises Unsupported, also for a malformed definition."""
    if len(definition) > _MAX_CHARACTERS:
        raise Unsupported(f"more than {_MAX_CHARACTERS} characters")
    reader = _Reader([*tokens_of(definition)])
    reader.read()
    return LarkGrammar(reader.rules, reader.terminals, reader.ignored).grammar()


class _Reader:
    """Reads definitions. Names in terms are references, to terminals too."""

    def __init__(self, tokens: list[Token]) -> None:
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
        if not is_terminal(name) and name != name.lower():
            raise Unsupported(f"the name {name}, with small and capital letters")
        if name in self.rules or name in self.terminals:
            raise Unsupported(f"a second definition of {name}")
        (self.terminals if is_terminal(name) else self.rules)[name] = term
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
        if name not in COMMON:
            raise Unsupported(f"common.{name}")
        self.terminals[alias] = pattern_term(COMMON[name], "")

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
        least, most = counts_of(token.text)
        if max(least, most or 0) > MAX_COUNT or (most is not None and most < least):
            raise Unsupported(f"the repetition {token.text}")
        return repeat(part, least, most)

    def _atom(self) -> Term:
        token = self._next()
        match token.kind:
            case "string":
                return Terminal(self._range_from(token) if self._takes("..") else literal_term(token.text))
            case "regex":
                pattern, _, flags = token.text[1:].rpartition("/")
                return Terminal(pattern_term(pattern, flags))
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

    def _range_from(self, low: Token) -> Term:
        ends = unescaped(low.text), unescaped(self._next().text)
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
    def _token(self) -> Token:
        return self._tokens[min(self._at, len(self._tokens) - 1)]

    def _next(self) -> Token:
        token = self._token
        self._at += 1
        return token

    def _takes(self, mark: str) -> bool:
        if self._at < len(self._tokens) and self._token.kind in ("mark", "line") and self._token.text == mark:
            self._at += 1
            return True
        return False
