"""Grammars of tool calls: `{"name": …, "arguments": {…}}`, with the markup around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.constraint import Constraint, check_cost, check_total, from_parsed
from engine_worker.schemas.custom_input import of_custom_tool
from engine_worker.schemas.json_text import json_literal
from engine_worker.schemas.schema_reader import read_schema
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import Ref, Term, Terminal, choice, renamed, repeat, sequence, text
from engine_worker.schemas.tool_schema import readable_parameters

_CALL, _CALLS = "call", "calls"


@dataclass(frozen=True, slots=True)
class Function:
    """A function that the model may call. `arguments`: the constraint of a call's arguments."""

    tool: pb.Tool
    arguments: Constraint

    @property
    def name(self) -> str:
        return self.tool.name


@dataclass(frozen=True, slots=True)
class Markup:
    """The texts before the first call, between two calls, and after the last."""

    before: str
    between: str
    after: str


def functions_of(tools: Sequence[pb.Tool]) -> list[Function]:
    """Raises ConstraintRejected for parameters that are not JSON or too large."""
    functions = [Function(tool, _arguments(tool)) for tool in tools]
    check_total([function.arguments.grammar for function in functions], "grammar of the tools")
    return functions


def _arguments(tool: pb.Tool) -> Constraint:
    """The constraint of a call's arguments. Malformed parts of a schema are left out, as in Ollama."""
    try:
        schema = read_schema(tool.parameters_json or "{}")
        if tool.input_grammar:
            return of_custom_tool(tool, schema)
        try:
            return from_parsed(_of_function(schema))
        except ConstraintRejected:
            return from_parsed(readable_parameters(schema))
    except ConstraintRejected as error:
        raise ConstraintRejected(f"the parameters of tool {tool.name!r}: {error.message}") from error


def _of_function(schema: object) -> object:
    """The schema as one of an object; a function without a schema has no parameters."""
    if not isinstance(schema, dict) or not schema:
        return readable_parameters(schema)
    return {**schema, "type": "object"}


def calls_grammar(
    functions: Sequence[Function], markup: Markup, several: bool, answer: Grammar | None = None
) -> Grammar:
    """The grammar of calls of these functions, or of what `answer` allows.

    Raises ConstraintRejected if it is too large.
    """
    rules: dict[str, Term] = {}
    options = [_call(function, f"f{number}_", rules) for number, function in enumerate(functions)]
    more = repeat(sequence(*_terminals(markup.between), Ref(_CALL))) if several else sequence()
    calls = sequence(*_terminals(markup.before), Ref(_CALL), more, *_terminals(markup.after))
    either: list[Term] = [Ref(_CALLS)]
    if answer is not None:
        either.append(_added(answer, "a_", rules))
    grammar = Grammar({ROOT: choice(*either), _CALLS: calls, _CALL: choice(*options), **rules})
    check_cost(grammar, "grammar of the tools and the format")
    return grammar


def _call(function: Function, prefix: str, rules: dict[str, Term]) -> Term:
    beginning = f'{{"name": {json_literal(function.name)}, "arguments": '
    arguments = _added(function.arguments.grammar, prefix, rules)
    rules[f"{prefix}call"] = sequence(*_terminals(beginning), arguments, *_terminals("}"))
    return Ref(f"{prefix}call")


def _added(grammar: Grammar, prefix: str, rules: dict[str, Term]) -> Term:
    """Add the rules of `grammar` with prefixed names; returns a reference to its root."""
    names: Mapping[str, str] = {name: f"{prefix}{name}" for name in grammar.rules}
    rules.update({names[name]: renamed(term, names) for name, term in grammar.rules.items()})
    return Ref(names[ROOT])


def _terminals(characters: str) -> Sequence[Term]:
    return [Terminal(text(characters))] if characters else []
