"""From a simple schema to grammar rules for the JSON texts that it allows.

White space between tokens is bounded, as in Ollama's grammar: models that would rather generate free text
otherwise generate line ends without end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from engine_worker.schemas import json_text, numbers, schema_reader
from engine_worker.schemas.json_text import other_names
from engine_worker.schemas.multiples import LastDigits, multiples
from engine_worker.schemas.numbers import Bounds
from engine_worker.schemas.patterns import read_pattern, with_length_bounds
from engine_worker.schemas.rules import references, rules_where
from engine_worker.schemas.simplify import REFERENCE
from engine_worker.schemas.terms import (
    EMPTY,
    NOTHING,
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

Schema = Mapping[str, object]
ROOT = "root"
_SPACE_RULE, _VALUE_RULE = "space", "value"
_SPACE = Ref(_SPACE_RULE)
# One space; or one or two line ends and an indentation.
_SPACES = Terminal(choice(text(" "), sequence(repeat(text("\n"), 1, 2), repeat(Chars.text(" \t"), 0, 20))))


@dataclass(frozen=True, slots=True)
class Grammar:
    """`rules`: the first one is ROOT's."""

    rules: Mapping[str, Term]


def grammar_of(schema: Schema) -> Grammar | None:
    """The grammar of a schema; None if no text matches, for example if each value must contain
    another one.
    """
    builder = _Builder()
    builder.rules[ROOT] = EMPTY
    builder.rules[ROOT] = builder.value(schema)
    definitions = schema.get("$defs")
    named: Mapping[str, Schema] = definitions if isinstance(definitions, dict) else {}
    for name, definition in named.items():
        builder.rules[name] = EMPTY
        builder.rules[name] = builder.value(definition)
    return _of_reachable(builder.rules)


class _Builder:
    """Collects the rules of one grammar."""

    def __init__(self) -> None:
        self.rules: dict[str, Term] = {}

    def value(self, schema: Schema) -> Term:
        if isinstance(reference := schema.get("$ref"), str):
            return Ref(reference.removeprefix(REFERENCE))
        if isinstance(values := schema.get("enum"), list):
            return choice(*(self._constant(value) for value in values))
        if isinstance(options := schema.get("anyOf"), list):
            return choice(*(self.value(option) for option in options))
        match schema.get("type"):
            case "object":
                return self._rule(self._object(schema))
            case "array":
                return self._rule(self._array(schema))
            case "string":
                return _string(schema)
            case "integer" | "number" as kind:
                return _number(kind, schema)
            case "boolean":
                return choice(json_text.literal(True), json_text.literal(False))
            case "null":
                return json_text.literal(None)
            case _:
                return self._anything()

    def _rule(self, term: Term) -> Term:
        """Add a rule for the term and refer to it, so that no rule becomes as long as the schema."""
        name = f"r{len(self.rules)}"
        self.rules[name] = term
        return Ref(name)

    def _spaced(self, *parts: Term) -> Term:
        self.rules.setdefault(_SPACE_RULE, optional(_SPACES))
        between = [each for part in parts for each in (_SPACE, part)]
        return sequence(*between[1:])

    def _anything(self) -> Term:
        if _VALUE_RULE not in self.rules:
            self.rules[_VALUE_RULE] = EMPTY
            options: list[Schema] = [
                {"type": "object", "additionalProperties": {}},
                {"type": "array", "items": {}},
            ]
            options += [{"type": name} for name in ("string", "number", "boolean", "null")]
            self.rules[_VALUE_RULE] = choice(*(self.value(option) for option in options))
        return Ref(_VALUE_RULE)

    def _constant(self, value: object) -> Term:
        if isinstance(value, dict):
            properties = {name: {"enum": [each]} for name, each in value.items()}
            return self.value({"type": "object", "properties": properties, "required": list(value)})
        if isinstance(value, list):
            items = [{"enum": [each]} for each in value]
            return self.value({"type": "array", "prefixItems": items, "items": False, "minItems": len(items)})
        return json_text.literal(value)

    def _array(self, schema: Schema) -> Term:
        first = _list(schema.get("prefixItems"))
        least = _count(schema.get("minItems")) or 0
        most = _count(schema.get("maxItems"))
        others = schema.get("items", False)
        other = self.value(others) if isinstance(others, dict) else NOTHING
        members = [self.value(item) for item in first if isinstance(item, dict)]
        least_others = max(0, least - len(members))
        most_others = None if most is None else max(0, most - len(members))
        if not members:
            return self._bracketed("[", self._list_of(other, least_others, most_others), "]")
        if most is not None:
            members = members[:most]
        following = repeat(self._after_comma(other), least_others, most_others)
        for index in range(len(members) - 1, -1, -1):
            member = members[index] if index == 0 else self._after_comma(members[index])
            following = sequence(member, following)
            if index >= least:
                following = self._rule(optional(following))
        return self._bracketed("[", following, "]")

    def _list_of(self, item: Term, least: int, most: int | None) -> Term:
        if most == 0:
            return EMPTY
        more = repeat(self._after_comma(item), max(0, least - 1), None if most is None else most - 1)
        some = sequence(item, more)
        return some if least else optional(some)

    def _after_comma(self, term: Term) -> Term:
        if term == NOTHING:
            return NOTHING
        return sequence(_SPACE, self._spaced(Terminal(text(",")), term))

    def _bracketed(self, begin: str, content: Term, end: str) -> Term:
        if content == NOTHING:
            return NOTHING
        if content == EMPTY:
            return self._spaced(Terminal(text(begin)), Terminal(text(end)))
        return self._spaced(Terminal(text(begin)), content, Terminal(text(end)))

    def _object(self, schema: Schema) -> Term:
        """Properties in the order of the schema. Around the first required one, optional properties before it
        have their comma behind them, those after it in front.
        """
        properties = schema.get("properties")
        members: Mapping[str, Schema] = properties if isinstance(properties, dict) else {}
        required = set(_list(schema.get("required")))
        others = self._other_members(schema, list(members))
        pairs = [self._pair(json_text.literal(name), self.value(of)) for name, of in members.items()]
        must = [name in required for name in members]
        if True not in must:
            return self._bracketed("{", self._some_of(pairs, others), "}")
        tail = EMPTY if others == NOTHING else optional(self._after_comma(others))
        first = must.index(True)
        before = [optional(self._before_comma(pair)) for pair in pairs[:first]]
        after = [
            self._after_comma(pair) if needed else optional(self._after_comma(pair))
            for pair, needed in zip(pairs[first + 1 :], must[first + 1 :], strict=True)
        ]
        return self._bracketed("{", sequence(*before, pairs[first], *after, tail), "}")

    def _some_of(self, pairs: list[Term], others: Term) -> Term:
        """Optional properties only: each may be followed by a later one, or be left out."""
        rest = others
        for pair in reversed(pairs):
            following = EMPTY if rest == NOTHING else optional(self._after_comma(rest))
            rest = self._rule(choice(sequence(pair, following), rest))
        return EMPTY if rest == NOTHING else optional(rest)

    def _before_comma(self, pair: Term) -> Term:
        return NOTHING if pair == NOTHING else self._spaced(pair, Terminal(text(",")), EMPTY)

    def _other_members(self, schema: Schema, names: list[str]) -> Term:
        """One or more additional properties; NOTHING if none are allowed."""
        others = schema.get("additionalProperties", False)
        if not isinstance(others, dict):
            return NOTHING
        name = other_names(schema.get("propertyNames"), names)
        if name == NOTHING:
            return NOTHING
        pair = self._pair(name, self.value(others))
        return self._rule(sequence(pair, repeat(self._after_comma(pair))))

    def _pair(self, name: Term, value: Term) -> Term:
        pair = self._spaced(name, Terminal(text(":")), value)
        return NOTHING if pair == NOTHING else self._rule(pair)


def _string(schema: Schema) -> Term:
    least, most = _count(schema.get("minLength")) or 0, _count(schema.get("maxLength"))
    if not isinstance(pattern := schema.get("pattern"), str):
        return json_text.any_string(least, most)
    content = read_pattern(pattern)
    return json_text.string(with_length_bounds(content, least, most) or content)


def _number(kind: str, schema: Schema) -> Term:
    step = schema_reader.number(schema.get("multipleOf"))
    if step is not None and (last_digits := LastDigits.of(Fraction(step))) is not None:
        return multiples(last_digits, _bounds(schema))
    return numbers.integers(_bounds(schema)) if kind == "integer" else numbers.numbers(_bounds(schema))


def _bounds(schema: Schema) -> Bounds:
    low_open, high_open = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    return Bounds(
        _decimal(schema.get("minimum", low_open)),
        _decimal(schema.get("maximum", high_open)),
        low_open is not None,
        high_open is not None,
    )


def _decimal(value: object) -> Decimal | None:
    return value if isinstance(value, Decimal) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _of_reachable(rules: Mapping[str, Term]) -> Grammar | None:
    """The grammar without unreachable rules and without parts that match nothing; None if ROOT matches
    nothing.
    """
    possible = rules_where(_matches_some, rules)
    if ROOT not in possible:
        return None
    kept: dict[str, Term] = {}
    waiting = [ROOT]
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = _without(rules[name], possible)
            waiting += references(kept[name])
    return Grammar({name: kept[name] for name in [ROOT, *rules] if name in kept})


def _matches_some(term: Term, possible: Collection[str]) -> bool:
    match term:
        case Ref(name):
            return name in possible
        case Sequence(parts):
            return all(_matches_some(part, possible) for part in parts)
        case Choice(options):
            return any(_matches_some(option, possible) for option in options)
        case Repeat(part, least, _):
            return least == 0 or _matches_some(part, possible)
        case Terminal(part):
            return _matches_some(part, possible)
        case Chars(ranges):
            return bool(ranges)


def _without(term: Term, possible: Collection[str]) -> Term:
    match term:
        case Ref(name):
            return term if name in possible else NOTHING
        case Sequence(parts):
            return sequence(*(_without(part, possible) for part in parts))
        case Choice(options):
            return choice(*(_without(option, possible) for option in options))
        case Repeat(part, least, most):
            return repeat(_without(part, possible), least, most)
        case _:
            return term
