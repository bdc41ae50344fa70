"""From a request's `format` to a Constraint: the grammar of its answer, and the keywords that it drops.

The worker does this, since it protects its engine from every client. The frontend forwards schemas unchanged,
as servers with a schema converter of their own need them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.cost_limits import check_ebnf, cost_of
from engine_worker.schemas.ebnf_reader import is_lark, read_ebnf
from engine_worker.schemas.grammar_checks import checked
from engine_worker.schemas.lark_reader import read_lark
from engine_worker.schemas.patterns import Malformed, Unsupported, read_whole
from engine_worker.schemas.schema_reader import read_schema
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar, grammar_of
from engine_worker.schemas.simplify import simplify
from engine_worker.schemas.structural_tag import read_structural_tag
from engine_worker.schemas.terms import NOTHING

ANY_OBJECT = '{"type":"object"}'
# The slower of the engines' libraries compiles this many in 1 s, under load in 2 s.
MAX_POSITIONS = 25_000
_FIELD, _TOOLS = "format.", "tools."


@dataclass(frozen=True, slots=True)
class Constraint:
    """The grammar of an answer. `schema`: the simplified schema; None for a regular expression.
    `not_honoured`: as in Started. `text`: the grammar in the engine's language.
    """

    grammar: Grammar
    schema: Mapping[str, object] | None = None
    not_honoured: tuple[str, ...] = ()
    text: str = ""


def named_of_tools(constraints: Iterable[Constraint]) -> list[str]:
    """Names of keywords of tools' schemas that a grammar of calls drops, without duplicates."""
    names = [name for constraint in constraints for name in constraint.not_honoured]
    return list(dict.fromkeys(name.replace(_FIELD, _TOOLS, 1) for name in names))


async def constraint_of(request: pb.GenerateRequest, write: Callable[[Grammar], str]) -> Constraint | None:
    """The constraint of a request, its grammar written with `write`; None for free text. Runs in a thread,
    since a large schema takes 1 s. Raises ConstraintRejected.
    """
    match request.WhichOneof("constraint"):
        case "json_schema":
            read = partial(from_schema, request.json_schema)
        case "any_json" if request.any_json:
            read = partial(from_schema, ANY_OBJECT)
        case "regex":
            read = partial(from_regex, request.regex)
        case "ebnf":
            read = partial(from_ebnf, request.ebnf)
        case "structural_tag":
            read = partial(from_structural_tag, request.structural_tag)
        case _:
            return None
    return await asyncio.to_thread(_written, read, write)


def _written(read: Callable[[], Constraint], write: Callable[[Grammar], str]) -> Constraint:
    try:
        constraint = read()
        return replace(constraint, text=write(constraint.grammar))
    except RecursionError as error:
        raise ConstraintRejected(
            "the grammar is nested too deep: its rules lead through more than a hundred others that are not "
            "repetitions; write it with fewer levels"
        ) from error


def from_schema(text: str) -> Constraint:
    return from_parsed(read_schema(text))


def from_parsed(schema: object) -> Constraint:
    """The constraint of a schema that `read_schema` returned. Raises ConstraintRejected."""
    try:
        return _from_parsed(schema)
    except RecursionError as error:
        raise ConstraintRejected(
            "the JSON schema is nested too deep: it has, or its references lead through, more than a hundred "
            "levels of objects and arrays"
        ) from error


def _from_parsed(schema: object) -> Constraint:
    simple = simplify(schema)
    grammar = grammar_of(simple.schema)
    if grammar is None:
        raise ConstraintRejected(
            "the JSON schema is unsatisfiable: no value of finite length obeys all that it says"
        )
    check_cost(grammar, "JSON schema")
    return Constraint(grammar, simple.schema, tuple(f"{_FIELD}{keyword}" for keyword in simple.dropped))


def from_regex(pattern: str) -> Constraint:
    """A constraint that the whole answer matches `pattern`. Raises ConstraintRejected."""
    try:
        term = read_whole(pattern, may_be_anchored=True)
    except Malformed as error:
        raise ConstraintRejected(f"regex: {error}") from error
    except Unsupported as error:
        raise ConstraintRejected(f"regex: not supported: {error}") from error
    if term == NOTHING:
        raise ConstraintRejected("regex: no text matches it, since a class in it has no characters")
    grammar = checked(Grammar({ROOT: term}))
    check_cost(grammar, "regex")
    return Constraint(grammar)


def from_ebnf(source: str) -> Constraint:
    """A constraint that the whole answer is a text of the grammar, in EBNF or Lark. Raises
    ConstraintRejected.
    """
    if is_lark(source):
        return _from_lark(source)
    check_ebnf(source, MAX_POSITIONS)
    grammar = read_ebnf(source)
    check_cost(grammar, "EBNF")
    return Constraint(grammar)


def _from_lark(source: str) -> Constraint:
    try:
        grammar = read_lark(source)
    except Malformed as error:
        raise ConstraintRejected(f"Lark: in a regular expression, {error}") from error
    except Unsupported as error:
        raise ConstraintRejected(f"Lark: malformed or not supported: {error}") from error
    check_cost(grammar, "grammar")
    return Constraint(checked(grammar))


def from_structural_tag(source: str) -> Constraint:
    """A constraint that tags in the answer have a prescribed content. Raises ConstraintRejected."""
    parts: list[Constraint] = []
    positions = 0

    def added(part: Constraint) -> Grammar:
        """Many parts that are large each would take minutes before the whole is known to be too large."""
        nonlocal positions
        positions += cost_of(part.grammar.rules)
        _check_positions(positions, "structural tag")
        parts.append(part)
        return part.grammar

    readers = {
        "json_schema": lambda value: added(from_parsed(value)),
        "regex": lambda value: added(from_regex(str(value))),
        "grammar": lambda value: added(from_ebnf(str(value))),
    }
    grammar = read_structural_tag(source, readers)
    check_cost(grammar, "structural tag")
    names = dict.fromkeys(name for each in parts for name in each.not_honoured)
    return Constraint(checked(grammar), not_honoured=tuple(names))


def plain_json(value: object) -> object:
    """A copy without Decimals, for JSON writers that do not support them."""
    if isinstance(value, dict):
        return {name: plain_json(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain_json(each) for each in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def json_of(schema: Mapping[str, object]) -> str:
    return json.dumps(plain_json(schema), ensure_ascii=False)


def check_cost(grammar: Grammar, what: str) -> None:
    """Raises ConstraintRejected for a grammar with more than MAX_POSITIONS positions."""
    check_total([grammar], what)


def check_total(grammars: Iterable[Grammar], what: str) -> None:
    """`check_cost` for all grammars of one request together."""
    _check_positions(sum(cost_of(grammar.rules) for grammar in grammars), what)


def _check_positions(cost: int, what: str) -> None:
    if cost > MAX_POSITIONS:
        raise ConstraintRejected(
            f"the {what} is too large: its rules would have {cost} positions, at most {MAX_POSITIONS} are "
            "possible; lower the counts of its repetitions, or make it smaller"
        )
