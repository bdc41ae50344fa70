"""GBNF as llama.cpp reads it (src/llama-grammar.cpp): names, escapes, and its bound of 2,000 for counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache

from engine_worker.schemas.gbnf_writer import gbnf_text
from engine_worker.schemas.schema_to_grammar import Grammar

# From a position to all positions where a match may end.
Match = Callable[[str, int], frozenset[int]]
_MOST_REPEATED = 2000
_RULE = re.compile(r"([A-Za-z0-9-]+) ::= (.*)")
_ESCAPE = re.compile(r"\\(?:x(..)|u(....)|U(........)|(.))|(.)", re.DOTALL)
_NAMED = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_TOKEN = re.compile(
    r'\s*("(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[A-Za-z0-9-]+|[()|*+?]|\{(\d+)(?:(,)(\d*))?\})', re.DOTALL
)


def accepts(grammar: Grammar, text: str) -> bool:
    return takes(gbnf_text(grammar), text)


def takes(gbnf: str, text: str) -> bool:
    return len(text) in _rules(gbnf)["root"](text, 0)


@cache
def _rules(gbnf: str) -> dict[str, Match]:
    bodies = {}
    for line in gbnf.splitlines():
        if line:
            rule = _RULE.fullmatch(line)
            assert rule is not None, line
            assert rule[1] not in bodies, f"{rule[1]} is there twice"
            bodies[rule[1]] = rule[2]
    rules: dict[str, Match] = {}
    for name, body in bodies.items():
        rules[name] = _Reader(body, rules, set(bodies)).read()
    return rules


class _Reader:
    """`rules`: those that a name means, when a text is matched."""

    def __init__(self, body: str, rules: dict[str, Match], names: set[str]) -> None:
        self._rules = rules
        self._names = names
        self._tokens = list(_TOKEN.finditer(body))
        assert "".join(found[0] for found in self._tokens) == body.rstrip(), body
        self._at = 0

    def read(self) -> Match:
        match, _ = self._alternatives()
        assert self._at == len(self._tokens)
        return match

    def _next(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _alternatives(self) -> tuple[Match, int]:
        match, inner = self._sequence()
        options = [match]
        while self._next() == "|":
            self._at += 1
            match, more = self._sequence()
            options.append(match)
            inner += more
        return lambda text, at: frozenset().union(*(option(text, at) for option in options)), inner

    def _sequence(self) -> tuple[Match, int]:
        """And how many rules llama.cpp makes for what is within it."""
        parts: list[Match] = []
        made = 0
        while self._next() not in ("", "|", ")"):
            part, inner = self._item()
            rules = max(1, inner)
            while (counts := self._counts()) is not None:
                least, most = counts
                rules *= max(1, least if most is None else most)
                assert rules < _MOST_REPEATED, "llama.cpp refuses the repetition"
                part = _repeated(part, least, most)
                inner += 1 if most is None else most - least
            parts.append(part)
            made += inner
        return lambda text, at: _followed(parts, text, at), made

    def _counts(self) -> tuple[int, int | None] | None:
        token = self._next()
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if token not in simple and not token.startswith("{"):
            return None
        found = self._tokens[self._at]
        self._at += 1
        if token in simple:
            return simple[token]
        least = int(found[2])
        return least, (least if found[3] is None else int(found[4]) if found[4] else None)

    def _item(self) -> tuple[Match, int]:
        token = self._next()
        self._at += 1
        if token == "(":
            match, inner = self._alternatives()
            assert self._next() == ")"
            self._at += 1
            return match, inner + 1
        if token.startswith('"'):
            characters = "".join(_characters(token[1:-1]))
            return lambda text, at: frozenset(
                {at + len(characters)} if text.startswith(characters, at) else ()
            ), 0
        if token.startswith("["):
            return _class(token[1:-1]), 0
        assert token in self._names, f"there is no rule {token}"
        return lambda text, at: self._rules[token](text, at), 0


def _followed(parts: Iterable[Match], text: str, at: int) -> frozenset[int]:
    ends = frozenset({at})
    for part in parts:
        ends = frozenset().union(*(part(text, end) for end in ends))
    return ends


def _repeated(part: Match, least: int, most: int | None) -> Match:
    def match(text: str, at: int) -> frozenset[int]:
        ends, found, count = frozenset({at}), frozenset({at} if least == 0 else ()), 0
        while ends and (most is None or count < most):
            ends, count = frozenset().union(*(part(text, end) for end in ends)), count + 1
            if count >= least:
                if ends <= found:
                    break
                found |= ends
        return found

    return match


def _class(written: str) -> Match:
    is_negated = written.startswith("^")
    characters = list(_characters(written.removeprefix("^"), marked=True))
    ranges = []
    while characters:
        low = characters.pop(0)
        high = low
        if len(characters) > 1 and characters[0] == "range":
            characters.pop(0)
            high = characters.pop(0)
        ranges.append((low, high))

    def match(text: str, at: int) -> frozenset[int]:
        if at == len(text):
            return frozenset()
        is_within = any(low <= text[at] <= high for low, high in ranges)
        return frozenset({at + 1} if is_within != is_negated else ())

    return match


def _characters(written: str, marked: bool = False) -> Iterable[str]:
    """`marked`: a hyphen that makes a range is the word "range"."""
    for found in _ESCAPE.finditer(written):
        digits = found[1] or found[2] or found[3]
        if digits:
            yield chr(int(digits, 16))
        elif found[4]:
            yield _NAMED[found[4]]
        else:
            yield "range" if marked and found[5] == "-" else found[5]
