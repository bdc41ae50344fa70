"""Functions that a model may call, and grammars of calls: `{"name": …, "arguments": {…}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.constraint import Constraint, check_cost, check_total, from_parsed
from engine_worker.schemas.grammar import ROOT, Grammar
from engine_worker.schemas.json_text import json_literal
from engine_worker.schemas.reading import read_schema
from engine_worker.schemas.terms import Leaf, Ref, Term, choice, renamed, repeat, sequence, text
from engine_worker.schemas.tool_schema import readable_parameters

_CALL, _CALLS = "call", "calls"


@dataclass(frozen=True, slots=True)
class Function:
    """`arguments`: what the arguments of a call must look like."""

    tool: pb.Tool
    arguments: Constraint

    @property
    def name(self) -> str:
        return self.tool.name


@dataclass(frozen=True, slots=True)
class Markup:
    """Texts around calls: before the first, between two, after the last."""

    before: str
    between: str
    after: str


def functions_of(tools: Sequence[pb.Tool]) -> list[Function]:
    """Raises ConstraintRejected for parameters that are no JSON, and for those that are too large."""
    functions = [Function(tool, _arguments(tool)) for tool in tools]
    check_total([function.arguments.grammar for function in functions], "grammar of the tools")
    return functions


def _arguments(tool: pb.Tool) -> Constraint:
    """What is wrong in a schema is left out of it, as in Ollama."""
    try:
        schema = read_schema(tool.parameters_json or "{}")
        try:
            return from_parsed(_of_function(schema))
        except ConstraintRejected:
            return from_parsed(readable_parameters(schema))
    except ConstraintRejected as error:
        raise ConstraintRejected(f"the parameters of tool {tool.name!r}: {error.message}") from error


def _of_function(schema: object) -> object:
    """Arguments are an object; a function that names no parameters has none."""
    if not isinstance(schema, dict) or not schema:
        return readable_parameters(schema)
    return {**schema, "type": "object"}


def calls_grammar(
    functions: Sequence[Function], markup: Markup, several: bool, answer: Grammar | None = None
) -> Grammar:
    """Calls of these functions, or what `answer` admits. Raises ConstraintRejected for what is too large."""
    rules: dict[str, Term] = {}
    options = [_call(function, f"f{number}_", rules) for number, function in enumerate(functions)]
    more = repeat(sequence(*_leaves(markup.between), Ref(_CALL))) if several else sequence()
    calls = sequence(*_leaves(markup.before), Ref(_CALL), more, *_leaves(markup.after))
    either: list[Term] = [Ref(_CALLS)]
    if answer is not None:
        either.append(_added(answer, "a_", rules))
    grammar = Grammar({ROOT: choice(*either), _CALLS: calls, _CALL: choice(*options), **rules})
    check_cost(grammar, "grammar of the tools and the format")
    return grammar


def _call(function: Function, prefix: str, rules: dict[str, Term]) -> Term:
    beginning = f'{{"name": {json_literal(function.name)}, "arguments": '
    arguments = _added(function.arguments.grammar, prefix, rules)
    rules[f"{prefix}call"] = sequence(*_leaves(beginning), arguments, *_leaves("}"))
    return Ref(f"{prefix}call")


def _added(grammar: Grammar, prefix: str, rules: dict[str, Term]) -> Term:
    """The rules of `grammar`, under names of their own; returned is what stands for its root."""
    names: Mapping[str, str] = {name: f"{prefix}{name}" for name in grammar.rules}
    rules.update({names[name]: renamed(term, names) for name, term in grammar.rules.items()})
    return Ref(names[ROOT])


def _leaves(characters: str) -> Sequence[Term]:
    return [Leaf(text(characters))] if characters else []
